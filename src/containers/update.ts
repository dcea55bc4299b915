import { conflict, invalidArgument } from "../lib/errors.ts";
import type { HostConfig } from "../oci/container.ts";
import { changeRecord, lookup, type Context } from "./context.ts";
import { checkResources } from "./validate.ts";

/** What `docker update` may change; anything else in the body is ignored, as Docker does. */
const updatable = [
  "BlkioWeight",
  "CpuShares",
  "CpuPeriod",
  "CpuQuota",
  "CpuRealtimePeriod",
  "CpuRealtimeRuntime",
  "CpusetCpus",
  "CpusetMems",
  "Memory",
  "MemoryReservation",
  "MemorySwap",
  "NanoCpus",
  "PidsLimit",
] as const satisfies readonly (keyof HostConfig)[];

/** Zero and empty mean unchanged. Limits of a running container take effect at once. @throws EngineError invalidArgument, conflict */
export async function update(ctx: Context, reference: string, asked: Partial<HostConfig>): Promise<{ warnings: string[] }> {
  const entry = lookup(ctx, reference);
  using _lock = await ctx.mutex.lock(entry.record.id);
  const { record } = entry;
  if (entry.removing !== undefined) throw conflict(`cannot update container ${record.id}: container is marked for removal and cannot be "update"`);
  const change: Partial<HostConfig> = {};
  for (const key of updatable) {
    const value = asked[key];
    if (value !== undefined && value !== null && value !== 0 && value !== "") Object.assign(change, { [key]: value });
  }
  const host: HostConfig = { ...record.host, ...change };
  if (change.Memory !== undefined && change.MemorySwap === undefined && (record.host.MemorySwap ?? 0) > 0 && change.Memory > (record.host.MemorySwap ?? 0)) {
    throw invalidArgument("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time");
  }
  checkResources(host, { update: true });
  const policy = asked.RestartPolicy;
  if (policy?.Name !== undefined && policy.Name !== "") {
    if (record.host.AutoRemove === true && policy.Name !== "no")
      throw invalidArgument("Restart policy cannot be updated because AutoRemove is enabled for the container");
    if ((policy.MaximumRetryCount ?? 0) > 0 && policy.Name !== "on-failure")
      throw invalidArgument("invalid restart policy: maximum retry count can only be used with 'on-failure'");
    host.RestartPolicy = { Name: policy.Name, MaximumRetryCount: policy.MaximumRetryCount ?? 0 };
  }
  if (entry.sandbox !== undefined && Object.keys(change).length > 0) await entry.sandbox.update(change);
  changeRecord(ctx, entry, { host }, { action: "update" });
  return { warnings: [] };
}
