import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { engineKey } from "../src/daemon/paths.ts";

/**
 * What the kernel holds that a test could leave behind, as lines of text that can be compared. Mounts and processes count where they
 * have to do with `folder`, the one that tests make their own in: other engines may be at work on this host.
 */
export function kernelState(folder = "/"): Set<string> {
  const state = new Set<string>();
  const others = new Set([...keysOfOtherEngines(folder).map((key) => `berth-${key}`), ...ofOtherRuns(folder)]);
  for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    const fields = line.split(" ");
    const type = fields[fields.indexOf("-") + 1];
    // Controllers that the engine mounted for crun are the one thing it may leave.
    if (fields[4]?.startsWith(folder) && type !== "cgroup") state.add(`mount ${fields[4]}`);
  }
  for (const name of readdirSync("/sys/class/net")) state.add(`link ${name}`);
  for (const path of cgroupsOfBerth("/sys/fs/cgroup", 4)) if (!others.has(basename(path))) state.add(`cgroup ${path}`);
  const tables = Bun.spawnSync(["nft", "list", "tables"], { stdout: "pipe", stderr: "ignore" });
  for (const line of tables.stdout.toString().split("\n")) if (line !== "") state.add(`nftables ${line}`);
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    const command = commandOf(pid);
    if (/^\S*(conmon|crun|runc|berth) /.test(command) && command.includes(folder)) state.add(`process ${pid} ${command}`);
  }
  return state;
}

/** The keys (daemon/paths.ts) of engines that live outside `folder`: what carries one isn't ours. */
function keysOfOtherEngines(folder: string): string[] {
  return readdirSync("/proc").flatMap((pid) => {
    const root = /^\d+$/.test(pid) ? / daemon .*--data-root[ =](\S+)/.exec(commandOf(pid))?.[1] : undefined;
    if (root === undefined || (folder !== "/" && root.startsWith(folder)) || !existsSync(root)) return [];
    return [engineKey(root)];
  });
}

/** Cgroups of runs of tests beside this one, whose fixtures are engines without a process of their own. `folder`: this one's `berth-test-…/t`. */
function ofOtherRuns(folder: string): string[] {
  const [own, beside] = [dirname(folder), dirname(dirname(folder))];
  const runs = readdirSync(beside).filter((name) => name.startsWith("berth-test-") && join(beside, name) !== own);
  return runs.flatMap((name) => [...cgroupNames(join(beside, name))]);
}

/**
 * Names of cgroups below which engines of `folder` put their containers: by the key of a data root, or, in fixtures without an engine's own paths, by the
 * end of their folder's name (test/kernel/sandbox-fixture.ts, containers-fixture.ts).
 */
export function cgroupNames(folder: string): Set<string> {
  const names = new Set<string>();
  const look = (directory: string, depth: number): void => {
    const end = directory.slice(-6).toLowerCase();
    for (const key of [engineKey(directory), `t${end}`, `c${end.slice(1)}`]) names.add(`berth-${key}`);
    if (depth > 0)
      for (const entry of readdirSync(directory, { withFileTypes: true })) if (entry.isDirectory()) tryToLook(join(directory, entry.name), depth - 1);
  };
  const tryToLook = (directory: string, depth: number): void => {
    try {
      look(directory, depth);
    } catch (error) {
      if ((error as { code?: string }).code !== "ENOENT") throw error; // removed meanwhile
    }
  };
  tryToLook(folder, 3);
  return names;
}

const commandOf = (pid: string): string => fileOf(pid, "cmdline").replaceAll("\0", " ");

/** What /proc says of a process. */
export function fileOf(pid: number | string, name: "cgroup" | "cmdline" | "environ"): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "utf8");
  } catch {
    return ""; // ended meanwhile
  }
}

/** Paths of cgroups that bear the name. */
export function cgroupsOfBerth(root: string, depth: number): string[] {
  if (depth === 0) return [];
  const found: string[] = [];
  let entries;
  try {
    entries = readdirSync(root, { withFileTypes: true });
  } catch {
    return found; // removed meanwhile
  }
  for (const entry of entries) {
    if (!entry.isDirectory()) continue;
    const path = `${root}/${entry.name}`;
    if (entry.name.startsWith("berth")) found.push(path);
    else found.push(...cgroupsOfBerth(path, depth - 1));
  }
  return found;
}

/** What is in `after` and wasn't in `before`. */
export function leaks(before: Set<string>, after: Set<string>): string[] {
  return [...after].filter((line) => !before.has(line));
}
