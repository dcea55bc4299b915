import { notImplemented } from "../lib/errors.ts";
import type { ReadLogsOptions } from "../logs/types.ts";
import { isRunning, lookup, type Context } from "./context.ts";
import { exitOf } from "./kill.ts";
import { logPathOf } from "./spec.ts";
import type { ContainerRecord, Containers } from "./types.ts";

/** @throws EngineError notFound, notImplemented for the driver `none` */
export function logs(ctx: Context, reference: string, options: ReadLogsOptions): ReturnType<Containers["logs"]> {
  const entry = lookup(ctx, reference);
  const { record } = entry;
  if (record.host.LogConfig?.Type === "none") throw notImplemented("configured logging driver does not support reading");
  // When the exit is recorded the log is complete.
  const ended = options.follow && isRunning(record.state) ? exitOf(entry, options.signal) : Promise.resolve();
  return { tty: record.config.Tty === true, details: logDetails(record), records: ctx.logs.read(logPathOf(ctx, record), options, ended) };
}

/** What `docker logs --details` shows before each line: labels and variables that the log options name, as `k=v,k=v` (moby's loginfo). */
export function logDetails({ config, host }: Pick<ContainerRecord, "config" | "host">): string {
  const options = host.LogConfig?.Config ?? {};
  const variables = (config.Env ?? []).map((text): [string, string] => {
    const at = text.indexOf("=");
    return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
  });
  const found = [...chosen(Object.entries(config.Labels ?? {}), options, "labels"), ...chosen(variables, options, "env")];
  return [...new Map(found)]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map((pair) => pair.map((text) => encodeURIComponent(text).replaceAll("%20", "+")).join("="))
    .join(",");
}

function chosen(pairs: readonly [string, string][], options: Record<string, string>, kind: "labels" | "env"): [string, string][] {
  const names = (options[kind] ?? "").split(",");
  return pairs.filter(([name]) => names.includes(name));
}
