import { nextRestart } from "./backoff.ts";
import type { Context, Entry } from "./context.ts";
import { stopEntry } from "./stop.ts";
import type { ContainerRecord } from "./types.ts";

/** Adds to any restart policy: `true` ends an unhealthy container and starts it anew. */
const restartLabel = "berth.restart-on-unhealthy";

/** Beyond Docker, which leaves an unhealthy container alone. */
function restartsWhenUnhealthy({ host, config }: ContainerRecord): boolean {
  if (host.AutoRemove === true) return false;
  return host.RestartPolicy?.Name === "on-unhealthy" || ["true", "1"].includes(config.Labels?.[restartLabel] ?? "");
}

/** Its checks fail: stops it, where it is to be restarted for that, as a user would; its exit then restarts it. */
export async function endUnhealthy(ctx: Context, entry: Entry): Promise<void> {
  const { record, generation, restartDelay: lastDelay } = entry;
  if (entry.unhealthyRun === generation || ctx.phase !== "open" || !restartsWhenUnhealthy(record)) return;
  const { restartCount } = record;
  // it has been restarted as often as it may: better unhealthy than ended
  if (nextRestart(record.host.RestartPolicy, { exitCode: 1, unhealthy: true, seconds: 0, restartCount, lastDelay }) === undefined) return;
  entry.unhealthyRun = generation;
  ctx.log.info("restarting an unhealthy container", { container: record.id, name: record.name });
  await stopEntry(ctx, entry, { byEngine: true });
}
