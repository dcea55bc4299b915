import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Builder } from "../build/types.ts";
import type { ContainerRecord, Containers } from "../containers/types.ts";
import type { Paths } from "../daemon/paths.ts";
import type { Events } from "../events/types.ts";
import type { Images } from "../images/types.ts";
import { kindOf } from "../lib/errors.ts";
import type { Exposition, Labels } from "../lib/metrics.ts";
import { createPause } from "../lib/turns.ts";
import { version } from "../lib/version.ts";
import type { Networks } from "../networks/types.ts";
import type { BlockIoEntry, StatsSample } from "../runtime/stats.ts";
import type { Volumes } from "../volumes/types.ts";
import { countOpenFiles, readMemTotal, type HostFacts } from "./host.ts";

export interface MetricsDeps {
  id: string;
  facts: HostFacts;
  containers: Containers;
  images: Images;
  networks: Networks;
  volumes: Volumes;
  builder: Pick<Builder, "counts">;
  events: Events;
  paths: Paths;
}

/** Everything about the engine's objects, read now. Names that begin with `engine_daemon_` and `builder_` are dockerd's, with dockerd's meaning. */
export async function writeMetrics(out: Exposition, deps: MetricsDeps): Promise<void> {
  const records = deps.containers.list({ all: true });
  writeEngine(out, deps, records);
  await writeProcess(out);
  writeObjects(out, deps, records);
  const running = await readSamples(deps.containers, records);
  await writeContainers(out, records, running);
  out.gauge("berth_container_log_bytes", "Size of its log files", await logSizes(deps.paths, records));
}

function writeEngine(out: Exposition, { id, facts, containers, builder, events }: MetricsDeps, records: readonly ContainerRecord[]): void {
  const info = {
    version,
    commit: "",
    architecture: facts.machine,
    graphdriver: "overlay2",
    kernel: facts.kernelVersion,
    os: facts.operatingSystem,
    os_type: "linux",
    os_version: facts.osVersion,
    daemon_id: id,
  };
  out.gauge("engine_daemon_engine_info", "The information related to the engine and the OS it is running on", [[info, 1]]);
  out.gauge("engine_daemon_engine_cpus_cpus", "The number of cpus that the host system of the engine has", [[{}, navigator.hardwareConcurrency]]);
  out.gauge("engine_daemon_engine_memory_bytes", "The number of bytes of memory that the host system of the engine has", [[{}, readMemTotal()]]);
  const paused = records.filter(({ state }) => state.status === "paused").length;
  const running = records.filter(({ state }) => state.status === "running" || state.status === "restarting").length;
  out.gauge("engine_daemon_container_states_containers", "The count of containers in various states", [
    [{ state: "paused" }, paused],
    [{ state: "running" }, running],
    [{ state: "stopped" }, records.length - paused - running],
  ]);
  out.counter("engine_daemon_health_checks_total", "The total number of health checks", [[{}, containers.healthChecks.total]]);
  out.counter("engine_daemon_health_checks_failed_total", "The total number of failed health checks", [[{}, containers.healthChecks.failed]]);
  out.counter("engine_daemon_events_total", "The number of events logged", [[{}, events.count]]);
  out.gauge("engine_daemon_events_subscribers_total", "The number of current subscribers to events", [[{}, events.listeners]]);
  out.counter("builder_builds_triggered_total", "Number of triggered image builds", [[{}, builder.counts.triggered]]);
  out.counter("builder_builds_failed_total", "Number of failed image builds", [[{}, builder.counts.failed]]);
}

/** Under the names that Prometheus' own clients use. */
async function writeProcess(out: Exposition): Promise<void> {
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed } = process.memoryUsage();
  out.counter("process_cpu_seconds_total", "Processor time of the engine in seconds", [[{}, (user + system) / 1e6]]);
  out.gauge("process_resident_memory_bytes", "Resident memory of the engine in bytes", [[{}, rss]]);
  out.gauge("process_open_fds", "Open file descriptors of the engine", [[{}, await countOpenFiles()]]);
  out.gauge("process_start_time_seconds", "Start of the engine in Unix seconds", [[{}, Date.now() / 1000 - process.uptime()]]);
  out.gauge("berth_heap_bytes", "JavaScript heap of the engine in bytes", [[{}, heapUsed]]);
}

function writeObjects(out: Exposition, { images, networks, volumes }: MetricsDeps, records: readonly ContainerRecord[]): void {
  const states = new Map(["created", "starting", "running", "paused", "restarting", "exited", "removing", "dead"].map((state) => [state, 0]));
  for (const { state } of records) states.set(state.status, (states.get(state.status) ?? 0) + 1);
  out.gauge(
    "berth_containers",
    "Containers by state",
    [...states].map(([state, count]): [Labels, number] => [{ state }, count]),
  );
  out.gauge("berth_images", "Images", [[{}, images.count()]]);
  out.gauge("berth_images_size_bytes", "Size of all layers of images, each counted once", [[{}, images.layersSize()]]);
  out.gauge("berth_volumes", "Volumes", [[{}, volumes.list().length]]);
  out.gauge("berth_networks", "Networks", [[{}, networks.list().length]]);
}

async function readSamples(containers: Containers, records: readonly ContainerRecord[]): Promise<[ContainerRecord, StatsSample][]> {
  const samples: [ContainerRecord, StatsSample][] = [];
  for (const record of records) {
    if (record.state.status !== "running" && record.state.status !== "paused") continue;
    try {
      const sample = await containers.stats(record.id);
      if (sample !== undefined) samples.push([record, sample]);
    } catch (error) {
      // removed since the list was made
      if (kindOf(error) !== "notFound") throw error;
    }
  }
  return samples;
}

const nameOf = ({ id, name }: ContainerRecord): Labels => ({ id: id.slice(0, 12), name });

/** A metric at a time: each has a sample of every container. */
async function writeContainers(out: Exposition, records: readonly ContainerRecord[], running: readonly [ContainerRecord, StatsSample][]): Promise<void> {
  const pause = createPause();
  const gauge = async (...metric: Parameters<Exposition["gauge"]>): Promise<void> => {
    out.gauge(...metric);
    await pause();
  };
  const counter = async (...metric: Parameters<Exposition["counter"]>): Promise<void> => {
    out.counter(...metric);
    await pause();
  };
  const each = (value: (sample: StatsSample) => number | undefined): [Labels, number][] =>
    running.flatMap(([record, sample]) => {
      const number = value(sample);
      return number === undefined ? [] : [[nameOf(record), number] satisfies [Labels, number]];
    });
  const links = (value: (counters: StatsSample["networks"][string]) => number): [Labels, number][] =>
    running.flatMap(([record, { networks }]) =>
      Object.entries(networks).map(([link, counters]): [Labels, number] => [{ ...nameOf(record), interface: link }, value(counters)]),
    );
  await gauge(
    "berth_container_info",
    "A container, with its image and state",
    records.map((record): [Labels, number] => [{ ...nameOf(record), image: record.config.Image ?? record.imageId, state: record.state.status }, 1]),
  );
  await gauge(
    "berth_container_healthy",
    "1 where its health check succeeds, 0 where it fails or hasn't succeeded yet",
    records.flatMap((record): [Labels, number][] => (record.health === undefined ? [] : [[nameOf(record), record.health.Status === "healthy" ? 1 : 0]])),
  );
  await gauge(
    "berth_container_restarts",
    "Restarts by its policy since it was last started by hand",
    records.map((record): [Labels, number] => [nameOf(record), record.restartCount]),
  );
  await gauge(
    "berth_container_start_time_seconds",
    "Its last start in Unix seconds",
    running.map(([record]): [Labels, number] => [nameOf(record), Number(record.state.startedAt) / 1e9]),
  );
  await counter(
    "berth_container_cpu_seconds_total",
    "Processor time",
    each(({ cpu }) => cpu.total / 1e9),
  );
  await counter(
    "berth_container_cpu_throttled_seconds_total",
    "Time that its processor quota kept it waiting",
    each(({ cpu }) => cpu.throttledTime / 1e9),
  );
  await gauge("berth_container_memory_bytes", "Memory in use, without the page cache that can be dropped, as docker stats shows it", each(memoryInUse));
  await gauge(
    "berth_container_memory_limit_bytes",
    "Memory limit; the host's memory where there is none",
    each(({ memory }) => memory.limit),
  );
  await counter(
    "berth_container_memory_failures_total",
    "Times that the memory limit was hit",
    each(({ memory }) => memory.failures),
  );
  await gauge(
    "berth_container_pids",
    "Processes and threads",
    each(({ pids }) => pids.current),
  );
  await gauge(
    "berth_container_pids_limit",
    "Most processes and threads that it may have",
    each(({ pids }) => pids.limit),
  );
  await counter(
    "berth_container_block_read_bytes_total",
    "Bytes read from disks",
    each(({ blockIo }) => sumOf(blockIo.bytes, "read")),
  );
  await counter(
    "berth_container_block_written_bytes_total",
    "Bytes written to disks",
    each(({ blockIo }) => sumOf(blockIo.bytes, "write")),
  );
  for (const resource of ["cpu", "memory", "io"] as const) {
    const waited = each(({ pressure }) => (pressure[resource] === undefined ? undefined : pressure[resource].some.total / 1e6));
    await counter(`berth_container_${resource}_pressure_seconds_total`, "Time that some of its processes waited for this", waited);
  }
  await counter(
    "berth_container_network_received_bytes_total",
    "Bytes received",
    links((link) => link.receivedBytes),
  );
  await counter(
    "berth_container_network_sent_bytes_total",
    "Bytes sent",
    links((link) => link.sentBytes),
  );
  await counter(
    "berth_container_network_received_packets_total",
    "Packets received",
    links((link) => link.receivedPackets),
  );
  await counter(
    "berth_container_network_sent_packets_total",
    "Packets sent",
    links((link) => link.sentPackets),
  );
  await counter(
    "berth_container_network_errors_total",
    "Packets with errors",
    links((link) => link.receiveErrors + link.sendErrors),
  );
  await counter(
    "berth_container_network_dropped_total",
    "Packets dropped",
    links((link) => link.receiveDropped + link.sendDropped),
  );
}

function memoryInUse({ memory: { usage, details } }: StatsSample): number {
  const cache = details["total_inactive_file"] ?? details["inactive_file"] ?? 0;
  return cache < usage ? usage - cache : usage;
}

const sumOf = (entries: readonly BlockIoEntry[], operation: string): number =>
  entries.reduce((sum, entry) => (entry.operation.toLowerCase() === operation ? sum + entry.value : sum), 0);

async function logSizes(paths: Paths, records: readonly ContainerRecord[]): Promise<[Labels, number][]> {
  const sizes: [Labels, number][] = [];
  for (const record of records) {
    const folder = paths.container(record.id);
    // gone where the container has been removed since
    const names = await readdir(folder).catch(() => []);
    let size = 0;
    for (const name of names)
      if (name.startsWith("container.log"))
        size += await stat(join(folder, name)).then(
          (file) => file.size,
          () => 0,
        );
    sizes.push([nameOf(record), size]);
  }
  return sizes;
}
