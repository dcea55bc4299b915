import { conflict, messageOf, notImplemented } from "../lib/errors.ts";
import { logDetails, type LogSource } from "../logs/attributes.ts";
import { isReadable, keepOptionsOf, queueOf } from "../logs/options.ts";
import type { LogBatch, ReadLogsOptions } from "../logs/types.ts";
import { within } from "../lib/within.ts";
import { isBeingRemoved, isRunning, lookup, type Context, type Entry } from "./context.ts";
import { exitOf } from "./kill.ts";
import { logPathOf } from "./spec.ts";
import type { ContainerRecord, Containers } from "./types.ts";

/** @throws EngineError notFound, conflict, notImplemented for the driver `none` and a cache that is switched off */
export function logs(ctx: Context, reference: string, options: ReadLogsOptions): ReturnType<Containers["logs"]> {
  const entry = lookup(ctx, reference);
  const { record } = entry;
  if (isBeingRemoved(entry)) throw conflict("can not get logs from container which is dead or marked for removal");
  if (!isReadable(logDriverOf(record), record.host.LogConfig?.Config ?? {})) throw notImplemented("configured logging driver does not support reading");
  // When the exit is recorded the log is complete.
  const ended = options.follow && isRunning(record.state) ? exitOf(entry, options.signal) : Promise.resolve();
  const records = known(entry, ctx.logs.read(logPathOf(ctx, record), options, ended));
  return { tty: record.config.Tty === true, details: () => logDetails(logSourceOf(record)), records };
}

async function* known(entry: Entry, records: AsyncIterable<LogBatch>): AsyncGenerator<LogBatch> {
  const { promise, resolve } = Promise.withResolvers<void>();
  entry.logReaders.add(promise);
  try {
    yield* records;
  } finally {
    entry.logReaders.delete(promise);
    resolve();
  }
}

/** How long a removal waits for those who read the log. */
const readersPatienceMs = 1000;

/**
 * Before the log goes: who follows it has a moment to get the rest. docker-py's `run(remove=True)` follows, waits, removes, and reads what came then; in
 * dockerd the log is open from the request on.
 */
export async function logIsRead(entry: Entry): Promise<void> {
  if (entry.logReaders.size > 0) await within(Promise.all(entry.logReaders), readersPatienceMs);
}

export const logDriverOf = ({ host }: Pick<ContainerRecord, "host">): string => host.LogConfig?.Type ?? "json-file";

/** What a log driver may say of the container. */
export function logSourceOf(record: Pick<ContainerRecord, "id" | "name" | "created" | "imageId" | "path" | "args" | "config" | "host">): LogSource {
  const { id, name, created, imageId, path, args, config, host } = record;
  return {
    id,
    name,
    created,
    imageId,
    imageName: config.Image ?? "",
    args: [path, ...args],
    env: config.Env ?? [],
    labels: config.Labels ?? {},
    options: host.LogConfig?.Config ?? {},
  };
}

/** Bounds a running container's log as its options say. */
export function keepLog(ctx: Context, record: ContainerRecord): Disposable | undefined {
  const [driver, given] = [logDriverOf(record), record.host.LogConfig?.Config ?? {}];
  const options = keepOptionsOf(driver, given);
  if (options === undefined) return undefined;
  return ctx.logs.keep(logPathOf(ctx, record), `${ctx.paths.bundle(record.id)}/ctl`, { ...options, queue: queueOf(driver, given) });
}

/** Before a further run. Not worth a failed start. */
export function endLogLine(ctx: Context, record: ContainerRecord): void {
  try {
    ctx.logs.endLine(logPathOf(ctx, record));
  } catch (error) {
    ctx.log.warn("ending the last line of a container's log", { container: record.id, error: messageOf(error) });
  }
}
