import type { ContainerRecord } from "../../containers/types.ts";
import { invalidArgument, kindOf } from "../../lib/errors.ts";
import { sleep } from "../../lib/sleep.ts";
import { formatNano, zeroTime } from "../../lib/time.ts";
import type { Pressure, StatsSample } from "../../runtime/stats.ts";
import { endpoint, json } from "../endpoint.ts";
import type { ApiVersion } from "../versions.ts";

/** Between two samples of a stream, as dockerd. */
const interval = 1000;
/** Between a first answer's sample and the one before it: long enough to tell rates, short enough to wait for. dockerd waits for its next second. */
const firstInterval = 100;

/**
 * One JSON line a second, or one answer (`stream=0`). Each has two samples, so that rates can be told, unless `one-shot=1`. A container that doesn't run
 * gives lines of zeros; the stream ends when it is removed.
 */
export const containerStats = endpoint({
  method: "GET",
  path: "/containers/{id}/stats",
  handler: async ({ services, params, query, api, exchange, signal }) => {
    const { containers } = services;
    const { id } = containers.get(params.id!);
    const line = (before: StatsSample | undefined, now: StatsSample | undefined): unknown => toStats(containers.get(id), before, now, api);
    const isStream = query.bool("stream", true);
    const isOneShot = api >= 41 && query.bool("one-shot");
    if (isStream && isOneShot) throw invalidArgument("cannot have stream=true and one-shot=true");
    if (isOneShot) return json(line(undefined, await containers.stats(id)));
    const stream = isStream ? exchange.stream(200, { "Content-Type": "application/json" }) : undefined;
    let before = await containers.stats(id);
    if (before !== undefined) await sleep(firstInterval, signal);
    if (stream === undefined) return json(line(before, await containers.stats(id)));
    try {
      while (!signal.aborted) {
        const now = await containers.stats(id);
        await stream.write(JSON.stringify(line(before, now)) + "\n");
        before = now;
        await sleep(interval, signal);
      }
    } catch (error) {
      if (kindOf(error) !== "notFound") throw error;
    }
    stream.end();
  },
});

function toStats({ id, name }: ContainerRecord, before: StatsSample | undefined, now: StatsSample | undefined, api: ApiVersion): Record<string, unknown> {
  return {
    name: `/${name}`,
    id,
    ...(api >= 52 ? { os_type: "linux" } : {}),
    read: now === undefined ? zeroTime : formatNano(now.readAt),
    preread: before === undefined ? zeroTime : formatNano(before.readAt),
    pids_stats: now === undefined ? {} : { current: now.pids.current, ...(now.pids.limit === undefined ? {} : { limit: now.pids.limit }) },
    blkio_stats: toBlockIo(now),
    num_procs: 0,
    storage_stats: {},
    cpu_stats: toCpu(now),
    precpu_stats: toCpu(before),
    memory_stats: toMemory(now),
    ...(now === undefined || Object.keys(now.networks).length === 0 ? {} : { networks: toNetworks(now) }),
  };
}

/** Lists are null where nothing is counted: all of a container that doesn't run, and those that only v1 had. */
function toBlockIo(sample: StatsSample | undefined): Record<string, unknown> {
  const entry = ({ major, minor, operation, value }: StatsSample["blockIo"]["bytes"][number]): unknown => ({ major, minor, op: operation, value });
  const none = sample?.cgroups === 1 ? [] : null;
  const list = (entries: StatsSample["blockIo"]["bytes"] = []): unknown => (entries.length === 0 ? none : entries.map(entry));
  return {
    io_service_bytes_recursive: list(sample?.blockIo.bytes),
    io_serviced_recursive: list(sample?.blockIo.operations),
    io_queue_recursive: none,
    io_service_time_recursive: none,
    io_wait_time_recursive: none,
    io_merged_recursive: none,
    io_time_recursive: none,
    sectors_recursive: none,
    ...toPressure(sample?.pressure.io),
  };
}

/** Not in Docker's API; named as in runc's `events --stats`. */
function toPressure(psi: Pressure | undefined): { psi?: Pressure } {
  return psi === undefined ? {} : { psi };
}

function toCpu(sample: StatsSample | undefined): Record<string, unknown> {
  const cpu = sample?.cpu;
  return {
    cpu_usage: {
      total_usage: cpu?.total ?? 0,
      ...(cpu === undefined || cpu.perCpu.length === 0 ? {} : { percpu_usage: cpu.perCpu }),
      usage_in_kernelmode: cpu?.system ?? 0,
      usage_in_usermode: cpu?.user ?? 0,
    },
    ...(cpu === undefined ? {} : { system_cpu_usage: cpu.hostTotal, online_cpus: cpu.online }),
    throttling_data: { periods: cpu?.periods ?? 0, throttled_periods: cpu?.throttledPeriods ?? 0, throttled_time: cpu?.throttledTime ?? 0 },
    ...toPressure(sample?.pressure.cpu),
  };
}

function toMemory(sample: StatsSample | undefined): Record<string, unknown> {
  if (sample === undefined) return {};
  const { usage, maxUsage, limit, failures, details } = sample.memory;
  return {
    usage,
    ...(maxUsage === undefined ? {} : { max_usage: maxUsage }),
    stats: details,
    ...(failures === 0 ? {} : { failcnt: failures }),
    limit,
    ...toPressure(sample.pressure.memory),
  };
}

function toNetworks({ networks }: StatsSample): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(networks).map(([name, each]) => [
      name,
      {
        rx_bytes: each.receivedBytes,
        rx_packets: each.receivedPackets,
        rx_errors: each.receiveErrors,
        rx_dropped: each.receiveDropped,
        tx_bytes: each.sentBytes,
        tx_packets: each.sentPackets,
        tx_errors: each.sendErrors,
        tx_dropped: each.sendDropped,
      },
    ]),
  );
}
