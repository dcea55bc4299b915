import type { ContainerRecord } from "../../containers/types.ts";
import { formatNano, zeroTime } from "../../lib/time.ts";
import type { StatsSample } from "../../runtime/stats.ts";
import { endpoint, json } from "../endpoint.ts";
import type { ApiVersion } from "../versions.ts";

/** Between two samples of a stream, as dockerd. */
const interval = 1000;

/**
 * One JSON line a second, or one answer (`stream=0`), which waits for a second sample so that rates can be told, unless `one-shot=1`.
 * A container that doesn't run gives lines of zeros.
 */
export const containerStats = endpoint({
  method: "GET",
  path: "/containers/{id}/stats",
  handler: async ({ services, params, query, api, exchange, signal }) => {
    const { containers } = services;
    const { id } = containers.get(params.id!);
    const line = (before: StatsSample | undefined, now: StatsSample | undefined): unknown => toStats(containers.get(id), before, now, api);
    if (!query.bool("stream", true)) {
      if (api >= 41 && query.bool("one-shot")) return json(line(undefined, containers.stats(id)));
      const before = containers.stats(id);
      if (before !== undefined) await Bun.sleep(interval);
      return json(line(before, containers.stats(id)));
    }
    const stream = exchange.stream(200, { "Content-Type": "application/json" });
    let before: StatsSample | undefined;
    while (!signal.aborted) {
      const now = containers.stats(id);
      await stream.write(JSON.stringify(line(before, now)) + "\n");
      before = now;
      await nextTick(signal);
    }
  },
});

function nextTick(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(done, interval);
  function done(): void {
    clearTimeout(timer);
    signal.removeEventListener("abort", done);
    resolve();
  }
  signal.addEventListener("abort", done);
  return promise;
}

function toStats({ id, name }: ContainerRecord, before: StatsSample | undefined, now: StatsSample | undefined, api: ApiVersion): Record<string, unknown> {
  return {
    name: `/${name}`,
    id,
    ...(api >= 52 ? { os_type: "linux" } : {}),
    read: now === undefined ? zeroTime : formatNano(now.readAt),
    preread: before === undefined ? zeroTime : formatNano(before.readAt),
    pids_stats: now === undefined ? {} : { current: now.pids.current, ...(now.pids.limit === undefined ? {} : { limit: now.pids.limit }) },
    blkio_stats: {
      io_service_bytes_recursive: now?.blockIo.bytes.map(toBlockIo) ?? null,
      io_serviced_recursive: now?.blockIo.operations.map(toBlockIo) ?? null,
      io_queue_recursive: null,
      io_service_time_recursive: null,
      io_wait_time_recursive: null,
      io_merged_recursive: null,
      io_time_recursive: null,
      sectors_recursive: null,
    },
    num_procs: 0,
    storage_stats: {},
    cpu_stats: toCpu(now),
    precpu_stats: toCpu(before),
    memory_stats: toMemory(now),
    ...(now === undefined ? {} : { networks: toNetworks(now) }),
  };
}

function toBlockIo({ major, minor, operation, value }: StatsSample["blockIo"]["bytes"][number]): Record<string, unknown> {
  return { major, minor, op: operation, value };
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
  };
}

function toMemory(sample: StatsSample | undefined): Record<string, unknown> {
  if (sample === undefined) return {};
  const { usage, maxUsage, limit, failures, details } = sample.memory;
  return { usage, ...(maxUsage === undefined ? {} : { max_usage: maxUsage }), stats: details, failcnt: failures, limit };
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
