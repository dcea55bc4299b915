import { notImplemented } from "../lib/errors.ts";
import type { LogRecord, ReadLogsOptions } from "../logs/types.ts";
import { isRunning, lookup, type Context } from "./context.ts";
import { exitOf } from "./kill.ts";
import { logPathOf } from "./spec.ts";

/** @throws EngineError notFound, notImplemented for the driver `none` */
export function logs(ctx: Context, reference: string, options: ReadLogsOptions): { tty: boolean; records: AsyncIterable<LogRecord[]> } {
  const entry = lookup(ctx, reference);
  const { record } = entry;
  if (record.host.LogConfig?.Type === "none") throw notImplemented("configured logging driver does not support reading");
  // When the exit is recorded the log is complete.
  const ended = options.follow && isRunning(record.state) ? exitOf(entry, options.signal) : Promise.resolve();
  return { tty: record.config.Tty === true, records: ctx.logs.read(logPathOf(ctx, record), options, ended) };
}
