import type { Context } from "./context.ts";
import { logPathOf } from "./spec.ts";
import type { ContainerRecord } from "./types.ts";
import { parseSize } from "./validate.ts";

/** Docker's json-file grows without end unless told otherwise; ours is bounded by default. */
const defaultMaxSize = 10 * 1024 * 1024;
const defaultMaxFiles = 5;

/** Starts rotating a running container's log as its options say. */
export function rotationOf(ctx: Context, record: ContainerRecord): Disposable | undefined {
  const { Type, Config } = record.host.LogConfig ?? {};
  if (Type === "none") return undefined;
  const size = Config?.["max-size"];
  const files = Config?.["max-file"];
  return ctx.logs.rotate(logPathOf(ctx, record), `${ctx.paths.bundle(record.id)}/ctl`, {
    maxSize: size === undefined || size === "-1" ? defaultMaxSize : parseSize(size),
    maxFiles: files === undefined ? defaultMaxFiles : Number(files),
  });
}
