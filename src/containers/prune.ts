import { realtimeNano } from "../kernel/clock.ts";
import { EngineError, invalidArgument } from "../lib/errors.ts";
import { parseRfc3339, parseTimestamp } from "../lib/time.ts";
import { isRunning, type Context } from "./context.ts";
import { hasLabel } from "../lib/match.ts";
import { remove } from "./remove.ts";
import type { ContainerRecord } from "./types.ts";

/** Removes all that don't run. Filters: until, label, label!. @throws EngineError invalidArgument */
export async function prune(ctx: Context, filters: Record<string, string[]>): Promise<{ deleted: string[]; spaceReclaimed: number }> {
  const wanted = pruneTest(filters);
  const deleted: string[] = [];
  let spaceReclaimed = 0;
  // Those that are here now: what is created meanwhile stays.
  const present = Array.from(ctx.entries.values());
  for (const { record, removesItself } of present) {
    if (isRunning(record.state) || removesItself === true || !wanted(record)) continue;
    try {
      const bytes = await ctx.snapshots.usage(record.snapshot);
      await remove(ctx, record.id);
      deleted.push(record.id);
      spaceReclaimed += bytes;
    } catch (error) {
      // Started or removed by someone else meanwhile.
      if (!(error instanceof EngineError) || (error.kind !== "conflict" && error.kind !== "notFound")) throw error;
    }
  }
  ctx.events.emit("container", "prune", "", { reclaimed: String(spaceReclaimed) });
  return { deleted, spaceReclaimed };
}

function pruneTest(filters: Record<string, string[]>): (record: ContainerRecord) => boolean {
  for (const name of Object.keys(filters)) if (!["until", "label", "label!"].includes(name)) throw invalidArgument(`invalid filter '${name}'`);
  const until = filters["until"] ?? [];
  if (until.length > 1) throw invalidArgument("more than one until filter specified");
  const before = until[0] === undefined ? undefined : parseTimestamp(until[0], realtimeNano());
  return ({ created, config }) => {
    const labels = config.Labels ?? {};
    if (before !== undefined && (parseRfc3339(created) ?? 0n) >= before) return false;
    if (!(filters["label"] ?? []).every((label) => hasLabel(labels, label))) return false;
    const unwanted = filters["label!"] ?? [];
    return unwanted.length === 0 || !unwanted.every((label) => hasLabel(labels, label));
  };
}
