import { Database } from "bun:sqlite";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { run, type Engine } from "./harness.ts";

/**
 * Compares what an engine at rest has in its records, in the kernel and in its files. Each line of the answer is something that one of them has and
 * another doesn't; none where nothing is lost and nothing leaks. `unmonitored`: ids of containers whose monitor was killed.
 */
export async function inconsistencies(engine: Engine, unmonitored: ReadonlySet<string> = new Set()): Promise<string[]> {
  const records = readRecords(join(engine.data, "engine.db"));
  const wrong = [...records.problems];
  const running = new Set(records.containers.filter(({ status }) => ["running", "paused"].includes(status)).map(({ id }) => id));
  const same = (what: string, found: Iterable<string>, expected: Iterable<string>): void => {
    const [left, right] = [new Set(found), new Set(expected)];
    for (const each of left.difference(right)) wrong.push(`${what} too many: ${each}`);
    for (const each of right.difference(left)) wrong.push(`${what} missing: ${each}`);
  };

  const data = (path: string): string[] => namesIn(join(engine.data, path));
  same(
    "container directory",
    data("containers"),
    records.containers.map(({ id }) => id),
  );
  same(
    "snapshot directory",
    data("snapshots"),
    records.snapshots.map(({ id }) => id),
  );
  same(
    "overlay work directory",
    data("snapshots/.work"),
    records.snapshots.filter(({ kind }) => kind === "active").map(({ id }) => id),
  );
  const ids = new Set(records.snapshots.map(({ id }) => id));
  same(
    "recipe of a layer that is gone",
    readdirSync(join(engine.data, "snapshots/.tars")).filter((id) => !ids.has(id)),
    [],
  );
  same("removed snapshot", data("snapshots/.trash"), []);
  same("volume directory", data("volumes"), records.volumes);
  same(
    "blob",
    data("content/blobs/sha256").map((name) => `sha256:${name}`),
    records.blobs,
  );
  // A broken-off download is kept for the next pull, with a note of what is there of it.
  const ingests = new Set(data("content/ingest"));
  const isKept = (name: string): boolean => /^sha256-[a-f0-9]{64}-\d+$/.test(name.replace(/\.json$/, "")) && ingests.has(`${name.replace(/\.json$/, "")}.json`);
  same(
    "unfinished blob",
    [...ingests].filter((name) => !isKept(name)),
    [],
  );
  same("temporary file", data("tmp"), []);

  const runRoot = (path: string): string[] => namesIn(join(engine.run, path));
  same("bundle", runRoot("bundles"), running);
  same("runtime state", runRoot("runtime/crun"), running);
  const inNamespaceOfTheirOwn = records.containers.filter(
    ({ id, network }) => running.has(id) && !["host", "none"].includes(network) && !network.startsWith("container:"),
  );
  same(
    "namespace file",
    runRoot("netns"),
    inNamespaceOfTheirOwn.map(({ id }) => id),
  );
  // conmon writes it a moment before the record follows
  same(
    "exit file",
    runRoot("exits").filter((id) => !running.has(id)),
    [],
  );

  const mounts = mountsBelow(engine.run);
  // those where the run root lies on a disk
  const fixed = ["bundles", "runtime", "exits"].filter((name) => mounts.includes(name)).concat("bin/crun");
  same("mount", mounts, [...fixed, ...[...running].map((id) => `bundles/${id}/rootfs`), ...inNamespaceOfTheirOwn.map(({ id }) => `netns/${id}`)]);
  const { monitors, runtimes } = processesOf(engine);
  // a later start gave one of those a monitor again
  same("monitor", new Set(monitors.keys()).union(running.intersection(unmonitored)), running);
  same("runtime's process", runtimes, []);
  for (const [root, groups] of cgroupsOf(engine)) same(`cgroup in ${root}`, groups, running);
  for (const { id, memory } of records.containers) {
    const limit = running.has(id) ? memoryLimitOf(engine, id) : undefined;
    if (limit !== undefined && limit !== memory) wrong.push(`memory limit of ${id}: ${limit} where ${memory} is recorded`);
  }

  const links = (await run([...engine.onHost, "busybox", "ip", "-o", "link"])).stdout;
  const count = (what: string, found: number, expected: number): void => {
    if (found !== expected) wrong.push(`${what}: ${found} where ${expected} are recorded`);
  };
  count("veth links", links.match(/ veth/g)?.length ?? 0, records.endpoints.length);
  same(
    "network bridge",
    [...links.matchAll(/ (br-[0-9a-f]{12})[:@]/g)].map((match) => match[1]!),
    records.bridges,
  );
  const rules = (await run([...engine.onHost, "nft", "list", "ruleset"])).stdout;
  const published = records.endpoints.flatMap(({ ports }) => ports).map(({ proto, hostPort, containerPort }) => `${proto} ${hostPort} ${containerPort}`);
  same(
    "port rule",
    [...rules.matchAll(/(tcp|udp) \. (\d+) : [\d.]+ \. (\d+)/g)].map(([, ...parts]) => parts.join(" ")),
    published,
  );
  same(
    "endpoint",
    records.endpoints.map(({ container, network }) => `${container} ${network}`),
    inNamespaceOfTheirOwn.flatMap(({ id, networks }) => (JSON.parse(networks) as string[]).map((network) => `${id} ${network}`)),
  );
  return wrong;
}

/** As `inconsistencies`, once what goes on in the background (removals, clean-ups) has had its time: at most some ten seconds. */
export async function lastingInconsistencies(engine: Engine): Promise<string[]> {
  for (let i = 0; ; i++) {
    const wrong = await inconsistencies(engine);
    if (wrong.length === 0 || i === 40) return wrong;
    await Bun.sleep(i * 12);
  }
}

interface Records {
  containers: { id: string; status: string; network: string; networks: string; memory: number }[];
  snapshots: { id: string; kind: string }[];
  volumes: string[];
  blobs: string[];
  endpoints: { container: string; network: string; ports: { proto: string; hostPort: number; containerPort: number }[] }[];
  /** Names of the bridges of user-defined networks. */
  bridges: string[];
  /** What the records say that can't be. */
  problems: string[];
}

function readRecords(path: string): Records {
  using db = new Database(path, { readonly: true });
  const all = <Row>(sql: string): Row[] => db.query<Row, []>(sql).all();
  const texts = (sql: string): string[] => all<{ text: string }>(sql).map(({ text }) => text);
  const problems: string[] = [];
  const none = (what: string, sql: string): void => void problems.push(...texts(sql).map((text) => `${what}: ${text}`));

  const integrity = texts("SELECT integrity_check AS text FROM pragma_integrity_check");
  if (integrity.join() !== "ok") problems.push(`database: ${integrity.join()}`);
  none("dangling row", `SELECT "table" || ' ' || rowid AS text FROM pragma_foreign_key_check`);
  none("half-made or half-removed container", "SELECT id AS text FROM containers WHERE phase <> 'ready'");
  none("half-made or half-removed volume", "SELECT name AS text FROM volumes WHERE phase <> 'ready'");
  none("half-made or half-removed snapshot", "SELECT id || ' ' || kind || ' ' || state AS text FROM snapshots WHERE state <> 'ready'");
  none("container without its image", "SELECT id AS text FROM containers WHERE image NOT IN (SELECT id FROM images)");
  none("container without its snapshot", "SELECT id AS text FROM containers WHERE snapshot NOT IN (SELECT id FROM snapshots WHERE kind = 'active')");
  none("writable snapshot of nobody", "SELECT id AS text FROM snapshots WHERE kind = 'active' AND id NOT IN (SELECT snapshot FROM containers)");
  none("reference of a container that is gone", "SELECT container AS text FROM container_volumes WHERE container NOT IN (SELECT id FROM containers)");
  none("reference to a volume that is gone", "SELECT volume AS text FROM container_volumes WHERE volume NOT IN (SELECT name FROM volumes)");
  none("anonymous volume of nobody", "SELECT name AS text FROM volumes WHERE record ->> 'anonymous' AND name NOT IN (SELECT volume FROM container_volumes)");
  none("endpoint of a container that is gone", "SELECT container AS text FROM endpoints WHERE container NOT IN (SELECT id FROM containers)");
  none("resolver of a container that is gone", "SELECT container AS text FROM resolvers WHERE container NOT IN (SELECT id FROM containers)");
  none("snapshot of a build that is over", "SELECT snapshot AS text FROM build_snapshots");
  none("blob of no image", "SELECT digest AS text FROM blobs WHERE digest NOT IN (SELECT digest FROM image_blobs)");
  none("note on a blob that is gone", "SELECT digest AS text FROM layer_blobs WHERE digest NOT IN (SELECT digest FROM blobs)");
  none("reference to a blob that is gone", "SELECT digest AS text FROM image_blobs WHERE digest NOT IN (SELECT digest FROM blobs)");
  none("reference to an image that is gone", "SELECT name AS text FROM image_refs WHERE image NOT IN (SELECT id FROM images)");
  const used = "SELECT value FROM images, json_each(images.layers) UNION SELECT value FROM snapshots, json_each(snapshots.layers)";
  none("layer of nobody", `SELECT id AS text FROM snapshots WHERE kind = 'layer' AND id NOT IN (${used})`);
  none("layer that is gone", `SELECT value AS text FROM (${used}) WHERE value NOT IN (SELECT id FROM snapshots)`);
  return {
    problems,
    containers: all(
      "SELECT id, state ->> '$.state.status' AS status, record ->> '$.host.NetworkMode' AS network, coalesce(record ->> '$.host.Memory', 0) AS memory, (SELECT json_group_array(key) FROM json_each(record, '$.endpoints')) AS networks FROM containers",
    ),
    snapshots: all("SELECT id, kind FROM snapshots"),
    volumes: texts("SELECT name AS text FROM volumes"),
    blobs: texts("SELECT digest AS text FROM blobs"),
    endpoints: all<{ container: string; network: string; ports: string }>(
      "SELECT container, record ->> 'networkName' AS network, record ->> 'ports' AS ports FROM endpoints",
    ).map(({ container, network, ports }) => ({
      container,
      network,
      ports: JSON.parse(ports) as Records["endpoints"][number]["ports"],
    })),
    bridges: texts("SELECT 'br-' || substr(id, 1, 12) AS text FROM networks WHERE driver = 'bridge' AND name <> 'bridge'"),
  };
}

/** Hidden names are the engine's own. */
function namesIn(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory).filter((name) => !name.startsWith(".")) : [];
}

/** Mount points below a folder. */
export function mountPointsBelow(folder: string): string[] {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((path) => path.startsWith(`${folder}/`));
}

/** Mount points below a root, relative to it; one that is mounted over twice stands there twice. */
function mountsBelow(root: string): string[] {
  const found = mountPointsBelow(root).map((path) => path.slice(root.length + 1));
  return found.map((path, index) => (found.indexOf(path) === index ? path : `${path} (once more)`));
}

/** An engine's helpers, from the kernel's list of processes: pids of monitors by container, and commands of runtimes. */
export function processesOf(engine: Engine): { monitors: Map<string, number>; runtimes: string[] } {
  const monitors = new Map<string, number>();
  const runtimes: string[] = [];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    const args = argumentsOf(pid);
    if (!args.some((each) => each.startsWith(`${engine.run}/`))) continue;
    const program = args[0]?.split("/").at(-1);
    if (program === "conmon") monitors.set(args[args.indexOf("-c") + 1]!, Number(pid));
    if (program === "crun") runtimes.push(args.join(" "));
  }
  return { monitors, runtimes };
}

function argumentsOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return []; // ended meanwhile
  }
}

/** Bytes, 0 for none; undefined where the cgroup is gone. */
function memoryLimitOf(engine: Engine, id: string): number | undefined {
  const isUnified = existsSync("/sys/fs/cgroup/cgroup.controllers");
  const file = isUnified ? `/sys/fs/cgroup/berth-${engine.key}/${id}/memory.max` : `/sys/fs/cgroup/memory/berth-${engine.key}/${id}/memory.limit_in_bytes`;
  if (!existsSync(file)) return undefined;
  const limit = Number(readFileSync(file, "utf8"));
  return limit < 2 ** 60 ? limit : 0;
}

/** Names of an engine's cgroups by hierarchy. */
function cgroupsOf(engine: Engine): [root: string, names: string[]][] {
  const parent = `berth-${engine.key}`;
  const hierarchies = existsSync("/sys/fs/cgroup/cgroup.controllers")
    ? [""]
    : readdirSync("/sys/fs/cgroup").filter((name) => existsSync(`/sys/fs/cgroup/${name}/${parent}`));
  return hierarchies.map((name) => {
    const folder = `/sys/fs/cgroup/${name}/${parent}`;
    return [name, existsSync(folder) ? readdirSync(folder, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? entry.name : [])) : []];
  });
}
