import { realtimeNano } from "../kernel/clock.ts";
import { conflict, EngineError, invalidArgument, messageOf } from "../lib/errors.ts";
import { parseBool } from "../lib/bool.ts";
import { hasLabel } from "../lib/match.ts";
import { parseRfc3339, parseTimestamp } from "../lib/time.ts";
import { SNAPSHOT_LABEL } from "./clone.ts";
import { usersOf, type Context } from "./context.ts";
import { remove } from "./remove.ts";
import { anonymousLabel, labelsOf } from "./labels.ts";
import type { VolumeRecord } from "./types.ts";
import { usage } from "./usage.ts";

/** Removes what no container refers to and was made without options: anonymous volumes, with `all` named ones too. @throws EngineError invalidArgument for a bad filter */
export async function prune(
  ctx: Context,
  { all, filters = {} }: { all?: boolean; filters?: Record<string, string[]> },
): Promise<{ deleted: string[]; spaceReclaimed: number }> {
  if (ctx.pruning) throw conflict("a prune operation is already running");
  const wanted = pruneTest(filters, all === true);
  ctx.pruning = true;
  try {
    return await pruneWanted(ctx, wanted);
  } finally {
    ctx.pruning = false;
  }
}

async function pruneWanted(ctx: Context, wanted: (record: VolumeRecord) => boolean): Promise<{ deleted: string[]; spaceReclaimed: number }> {
  const deleted: string[] = [];
  let spaceReclaimed = 0;
  for (const { record } of Array.from(ctx.entries.values())) {
    if (!wanted(record) || usersOf(ctx, record.name).length > 0) continue;
    const bytes = (await usage(ctx, record.name)) ?? 0;
    try {
      await remove(ctx, record.name);
    } catch (error) {
      // Taken into use, or removed by someone else, meanwhile.
      if (error instanceof EngineError && (error.kind === "conflict" || error.kind === "notFound")) continue;
      // as with Docker: one that can't go keeps none of the others
      ctx.log.warn("prune could not remove a volume", { volume: record.name, error: messageOf(error) });
      continue;
    }
    deleted.push(record.name);
    spaceReclaimed += bytes;
  }
  ctx.events.emit("volume", "prune", "", { reclaimed: String(spaceReclaimed) });
  return { deleted, spaceReclaimed };
}

/** Filters `label`, `label!`, `until` and `all`; without `all` only anonymous volumes go (API 1.42). */
function pruneTest(filters: Record<string, string[]>, all: boolean): (record: VolumeRecord) => boolean {
  for (const name of Object.keys(filters)) if (!["label", "label!", "all", "until"].includes(name)) throw invalidArgument(`invalid filter '${name}'`);
  const everything = all || isAll(filters["all"] ?? []);
  const until = filters["until"]?.[0];
  const before = until === undefined ? undefined : parseTimestamp(until, realtimeNano());
  const wanted = filters["label"] ?? [];
  const unwanted = filters["label!"] ?? [];
  // what was made with options, or by a plugin, may stand for data elsewhere (NFS, a device): only its owner removes it, as Docker does
  // a backup is unused by nature: it goes where it is asked for
  const asksForSnapshots = wanted.some((label) => label === SNAPSHOT_LABEL || label.startsWith(`${SNAPSHOT_LABEL}=`));
  return ({ driver, created, options, snapshotOf, ...record }) => {
    const labels = labelsOf(record);
    return (
      (snapshotOf === undefined || asksForSnapshots) &&
      driver === "local" &&
      (everything || hasLabel(labels, anonymousLabel)) &&
      Object.keys(options).length === 0 &&
      (before === undefined || (parseRfc3339(created) ?? 0n) < before) &&
      wanted.every((label) => hasLabel(labels, label)) &&
      (unwanted.length === 0 || !unwanted.every((label) => hasLabel(labels, label)))
    );
  };
}

function isAll(values: readonly string[]): boolean {
  const [value, ...more] = values;
  if (value === undefined) return false;
  if (more.length > 0) throw invalidArgument(`invalid filter 'all=[${values.join(" ")}]': only one value is expected`);
  return parseBool(value, (why) => invalidArgument(`invalid filter 'all': ${why}`));
}
