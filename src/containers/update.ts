import { isDeepStrictEqual } from "node:util";
import { conflict, EngineError, invalidArgument, prefixed } from "../lib/errors.ts";
import type { HostConfig, PortUpdate, RestartPolicy } from "../oci/container.ts";
import { defaultSwap } from "../runtime/resources.ts";
import { changeRecord, isBeingRemoved, lookup, type Context, type Entry } from "./context.ts";
import { putLimits, type LimitValue } from "../runtime/limits.ts";
import { followOom } from "./oom.ts";
import { planPorts, type Republishing } from "./republish.ts";
import { checkResources, checkRestartPolicy } from "./validate.ts";

/** What `docker update` may change, where zero and empty mean unchanged. */
const scalars = [
  "BlkioWeight",
  "CpuShares",
  "CpuPercent",
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
] as const satisfies readonly (keyof HostConfig)[];

/** Limits of devices: absent means unchanged, a list takes the place of the one before. */
const lists = [
  "BlkioWeightDevice",
  "BlkioDeviceReadBps",
  "BlkioDeviceWriteBps",
  "BlkioDeviceReadIOps",
  "BlkioDeviceWriteIOps",
] as const satisfies readonly (keyof HostConfig)[];

/** Resources that are given at creation: an update drops them, which it says where they would have changed. */
const fixed = [
  "CgroupParent",
  "Devices",
  "DeviceCgroupRules",
  "DeviceRequests",
  "MemorySwappiness",
  "OomKillDisable",
  "Ulimits",
] as const satisfies readonly (keyof HostConfig)[];

/**
 * Limits of a running container, paused or not, take effect at once; those of one at rest at its next start. Where anything is refused nothing has changed.
 * @throws EngineError invalidArgument, conflict
 */
export async function update(ctx: Context, reference: string, asked: Partial<HostConfig> & PortUpdate): Promise<{ warnings: string[] }> {
  const entry = lookup(ctx, reference);
  using _lock = await ctx.mutex.lock(entry.record.id);
  // a start under way has read the limits already
  await entry.starting?.settled;
  const { record, sandbox } = entry;
  const prefix = `Cannot update container ${record.id}: `;
  if (isBeingRemoved(entry)) throw conflict(`${prefix}container is marked for removal and cannot be "update"`);
  const wanted = changeOf(asked);
  checkResources(asked, { update: true });
  const policy = policyOf(asked.RestartPolicy);
  const { host: kept, warnings } = ctx.runtime.validate({}, wanted);
  const change = changeOf(kept);
  for (const key of fixed) if (isChanged(asked[key], record.host[key])) warnings.push(`${key} can't be changed by an update. ${key} discarded.`);
  // as at creation: memory and swap together get twice the memory
  if (change.Memory !== undefined && change.MemorySwap === undefined && !record.host.MemorySwap) change.MemorySwap = defaultSwap(change.Memory);
  const ports = portsOf(ctx, entry, asked);
  if (ports !== undefined && record.host.NetworkMode === "host") warnings.push("Published ports are discarded when using host network mode");
  const host: HostConfig = { ...record.host, ...change, ...(policy === undefined ? {} : { RestartPolicy: policy }), ...ports?.host };
  using publication =
    sandbox === undefined || ports === undefined
      ? undefined
      : await ctx.networks.changePorts(record.id, ports).catch((error: unknown) => {
          throw prefixed(prefix, error);
        });
  let before: LimitValue[] = [];
  const note = (values: LimitValue[]): void => {
    before = values;
    changeRecord(ctx, entry, { limitsBefore: { generation: entry.generation, values } });
  };
  try {
    refuseConflicts(record.host, change);
    if (policy !== undefined && policy.Name !== "no" && record.host.AutoRemove === true) {
      throw conflict("Restart policy cannot be updated because AutoRemove is enabled for the container");
    }
    checkResources(host, { update: true });
    const limits = limitsOf(record.host, host, change);
    if (sandbox !== undefined && Object.keys(limits).length > 0) await sandbox.update(limits, note);
  } catch (error) {
    // one that has ended meanwhile takes them at its next start
    if (entry.sandbox === sandbox || !(error instanceof EngineError)) throw prefixed(prefix, error);
  }
  const write = (): void => changeRecord(ctx, entry, { host, limitsBefore: undefined }, { action: "update" });
  try {
    if (publication === undefined) write();
    else publication.commit(write);
  } catch (error) {
    await putLimits(before);
    throw error;
  }
  followOom(ctx, entry);
  return { warnings };
}

/** Clients send fields that they don't mean empty, or as they were. */
function isChanged(asked: unknown, before: unknown): boolean {
  return Boolean(asked) && !(Array.isArray(asked) && asked.length === 0) && !isDeepStrictEqual(asked, before);
}

function portsOf(ctx: Context, { record, sandbox }: Entry, asked: PortUpdate): Republishing | undefined {
  const bound = sandbox === undefined ? [] : ctx.networks.endpointsOfContainer(record.id).flatMap((endpoint) => endpoint.ports);
  const ports = planPorts(record.name, { host: record.host, exposed: record.config.ExposedPorts, bound }, asked);
  if (ports !== undefined && record.host.NetworkMode?.startsWith("container:") === true) {
    throw invalidArgument("conflicting options: port publishing and the container type network mode");
  }
  return ports;
}

function changeOf(asked: Partial<HostConfig>): Partial<HostConfig> {
  const change: Partial<HostConfig> = {};
  for (const key of scalars) if (asked[key]) Object.assign(change, { [key]: asked[key] });
  for (const key of lists) if (asked[key] !== undefined && asked[key] !== null) Object.assign(change, { [key]: asked[key] });
  if (asked.PidsLimit !== undefined && asked.PidsLimit !== null) change.PidsLimit = asked.PidsLimit;
  return change;
}

function policyOf(asked: RestartPolicy | null | undefined): RestartPolicy | undefined {
  if (!asked?.Name) return undefined;
  const policy: RestartPolicy = { Name: asked.Name, MaximumRetryCount: asked.MaximumRetryCount ?? 0 };
  checkRestartPolicy({ RestartPolicy: policy });
  return policy;
}

/** A share of processors stands in one of two forms, and stays in it. */
function refuseConflicts(before: HostConfig, change: Partial<HostConfig>): void {
  const isSet = (value: number | undefined): boolean => (value ?? 0) > 0;
  const clash = (one: string, other: string): Error => conflict(`Conflicting options: ${one} cannot be updated as ${other} has already been set`);
  if (isSet(change.NanoCpus) && isSet(before.CpuPeriod)) throw clash("Nano CPUs", "CPU Period");
  if (isSet(change.NanoCpus) && isSet(before.CpuQuota)) throw clash("Nano CPUs", "CPU Quota");
  if (isSet(change.CpuPeriod) && isSet(before.NanoCpus)) throw clash("CPU Period", "NanoCPUs");
  if (isSet(change.CpuQuota) && isSet(before.NanoCpus)) throw clash("CPU Quota", "NanoCPUs");
  const swap = before.MemorySwap ?? 0;
  // unlike Docker, which counts "no limit" as the smallest one
  if (change.Memory !== undefined && change.MemorySwap === undefined && swap > 0 && change.Memory > swap) {
    throw conflict("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time");
  }
}

/** What the kernel is to be told. */
function limitsOf(before: HostConfig, host: HostConfig, change: Partial<HostConfig>): Partial<HostConfig> {
  const limits: Partial<HostConfig> = { ...change };
  if (change.Memory !== undefined || change.MemorySwap !== undefined) Object.assign(limits, { Memory: host.Memory, MemorySwap: host.MemorySwap });
  // 0 means unlimited here, where a new container's 0 means nothing to set
  if (change.PidsLimit === 0) limits.PidsLimit = -1;
  for (const key of lists) {
    const list = change[key] as { Path: string }[] | undefined;
    if (list === undefined) continue;
    const gone = ((before[key] ?? []) as { Path: string }[]).filter(({ Path }) => !list.some((each) => each.Path === Path));
    const none = key === "BlkioWeightDevice" ? { Weight: 0 } : { Rate: 0 };
    Object.assign(limits, { [key]: [...list, ...gone.map(({ Path }) => ({ Path, ...none }))] });
  }
  return limits;
}
