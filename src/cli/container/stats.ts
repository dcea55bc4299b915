import type { Client } from "../../client/client.ts";
import { isNotFound } from "../../client/errors.ts";
import type { StatsSample } from "../../client/types.ts";
import { defineCommand } from "../command.ts";
import { binarySize, humanSize } from "../format/human.ts";
import { writeList, type ListFormat, type Row } from "../format/output.ts";
import type { Sink } from "../io.ts";

const format: ListFormat = {
  headings: {
    Container: "CONTAINER",
    ID: "CONTAINER ID",
    Name: "NAME",
    CPUPerc: "CPU %",
    MemUsage: "MEM USAGE / LIMIT",
    MemPerc: "MEM %",
    NetIO: "NET I/O",
    BlockIO: "BLOCK I/O",
    PIDs: "PIDS",
  },
  columns: ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"],
  shrinkable: ["Name"],
};

/** Time between two drawings. */
const interval = 500;

export const stats = defineCommand({
  name: "container stats",
  aliases: ["stats"],
  summary: "Display a live stream of the resource usage of containers",
  usage: "[CONTAINER...]",
  flags: {
    all: { type: "bool", short: "a", help: "Show all containers (default shows just running)" },
    format: { type: "string", help: "Format output: 'table', 'table TEMPLATE', 'json' or a Go template" },
    "no-stream": { type: "bool", help: "Disable streaming stats and only pull the first result" },
    "no-trunc": { type: "bool", help: "Do not truncate output" },
  },
  args: { min: 0 },
  completes: "container",
  async run({ flags, args, client, io, config }) {
    const engine = await client();
    const template = flags.format || ((await config.file()).statsFormat ?? "");
    const whole = flags["no-trunc"];
    const print = async (sink: Sink, samples: readonly Sample[]): Promise<void> =>
      writeList(
        sink,
        samples.map((sample) => statsRow(sample, whole)),
        format,
        { format: template, whole },
      );
    const list = async (): Promise<string[]> => (args.length > 0 ? args : (await engine.containers.list({ all: flags.all })).map(({ Id }) => Id));
    if (flags["no-stream"]) {
      const samples = await Promise.all((await list()).map((ref) => firstSample(engine, ref)));
      await print(
        io.out,
        samples.filter((sample) => sample !== undefined),
      );
      return;
    }
    const watched = new Map<string, Sample>();
    const failures: unknown[] = [];
    const open = new Set<string>();
    for (;;) {
      for (const ref of await list()) {
        if (open.has(ref)) continue;
        open.add(ref);
        follow(engine, ref, watched)
          .catch((error: unknown) => {
            if (args.length > 0 || !isNotFound(error)) failures.push(error);
          })
          .finally(() => {
            watched.delete(ref);
            if (args.length === 0) open.delete(ref);
          });
      }
      await Bun.sleep(interval);
      if (failures.length > 0) throw failures[0];
      if (args.length > 0 && open.size > 0 && watched.size === 0) continue;
      if (io.out.isTty) await io.out.write("\x1b[H\x1b[J");
      await print(io.out, [...watched.values()]);
    }
  },
});

interface Sample {
  ref: string;
  data: StatsSample;
}

async function follow(engine: Client, ref: string, watched: Map<string, Sample>): Promise<void> {
  for await (const data of await engine.containers.stats(ref)) watched.set(ref, { ref, data });
}

async function firstSample(engine: Client, ref: string): Promise<Sample | undefined> {
  for await (const data of await engine.containers.stats(ref, { stream: false })) return { ref, data };
  return undefined;
}

function statsRow({ ref, data }: Sample, whole: boolean): Row {
  const id = data.id ?? ref;
  const memory = memoryUsed(data);
  const limit = data.memory_stats?.limit ?? 0;
  const networks = Object.values(data.networks ?? {});
  const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);
  const io = data.blkio_stats?.io_service_bytes_recursive ?? [];
  const moved = (kind: string): number => total(io.filter(({ op }) => op.toLowerCase() === kind).map(({ value }) => value));
  return {
    Container: ref,
    ID: whole ? id : id.slice(0, 12),
    Name: (data.name ?? "--").replace(/^\//, ""),
    CPUPerc: `${cpuPercent(data).toFixed(2)}%`,
    MemUsage: `${binarySize(memory)} / ${binarySize(limit)}`,
    MemPerc: `${(limit > 0 ? (memory / limit) * 100 : 0).toFixed(2)}%`,
    NetIO: `${humanSize(total(networks.map(({ rx_bytes: bytes }) => bytes)), 3)} / ${humanSize(total(networks.map(({ tx_bytes: bytes }) => bytes)), 3)}`,
    BlockIO: `${humanSize(moved("read"), 3)} / ${humanSize(moved("write"), 3)}`,
    PIDs: String(data.pids_stats?.current ?? 0),
  };
}

/** Without the page cache that could be dropped at once: v1 counts it as total_inactive_file, v2 as inactive_file. */
function memoryUsed({ memory_stats: memory }: StatsSample): number {
  const usage = memory?.usage ?? 0;
  const cache = memory?.stats?.total_inactive_file ?? memory?.stats?.inactive_file ?? 0;
  return cache < usage ? usage - cache : usage;
}

function cpuPercent({ cpu_stats: now, precpu_stats: before }: StatsSample): number {
  const used = (now?.cpu_usage?.total_usage ?? 0) - (before?.cpu_usage?.total_usage ?? 0);
  const system = (now?.system_cpu_usage ?? 0) - (before?.system_cpu_usage ?? 0);
  const cpus = now?.online_cpus || now?.cpu_usage?.percpu_usage?.length || 1;
  return used > 0 && system > 0 ? (used / system) * cpus * 100 : 0;
}
