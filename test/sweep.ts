import { readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { unmount } from "../src/kernel/mount.ts";
import { mountPointsIn } from "../src/kernel/mountinfo.ts";
import { signalProcess } from "../src/kernel/pidfd.ts";
import { kinOf, startTimeOf } from "../src/kernel/process.ts";
import { messageOf } from "../src/lib/errors.ts";
import { cgroupNames, cgroupsOfBerth, fileOf } from "./leaks.ts";
import { removeRoot } from "./remove-root.ts";

const SIGKILL = 9;

/** Writes into a runner's folder whose it is. */
export function claim(folder: string): void {
  writeFileSync(join(folder, "runner"), ownName(process.pid));
}

/** Takes away what runners that were killed have left in `parent`: their folders, and all that came of the tests in them. */
export async function sweepAfterDead(parent: string): Promise<void> {
  for (const name of readdirSync(parent)) {
    if (!name.startsWith("berth-test-")) continue;
    const folder = join(parent, name);
    let owner: string;
    try {
      owner = readFileSync(join(folder, "runner"), "utf8");
    } catch {
      continue; // just being made, or removed
    }
    if (owner === ownName(Number.parseInt(owner, 10))) continue;
    await sweepAway(folder).catch((error: unknown) => console.error(`cannot take away what a run before left in ${folder}: ${messageOf(error)}`));
  }
}

/** A pid alone may be another's by now. */
const ownName = (pid: number): string => `${pid} ${startTimeOf(pid)}`;

/** Ends the processes of tests that work in `folder`, engines and containers too, then removes cgroups, mounts and the folder itself. */
export async function sweepAway(folder: string): Promise<void> {
  const parents = cgroupNames(folder);
  for (let round = 0; round < 500; round++) {
    const pids = processesOf(folder, parents);
    if (pids.length === 0) break;
    for (const pid of pids) signalProcess(pid, SIGKILL);
    await Bun.sleep(10);
  }
  for (const path of cgroupsOfBerth("/sys/fs/cgroup", 4)) if (parents.has(basename(path))) removeGroups(path);
  for (const target of (await mountPointsIn(folder)).toReversed()) unmount(target, { lazy: true });
  removeRoot(folder);
}

/**
 * Processes that were told to make their temporary files in `folder`, those in its containers (whose environment is their own), monitors and runtimes by the
 * bundle that they name, and the descendants of all these.
 */
function processesOf(folder: string, parents: ReadonlySet<string>): number[] {
  const pids = readdirSync("/proc").flatMap((name) => (/^\d+$/.test(name) && startTimeOf(Number(name)) !== undefined ? [Number(name)] : []));
  const isOf = (pid: number): boolean => {
    const temporary = /(?:^|\0)TMPDIR=([^\0]*)/.exec(fileOf(pid, "environ"))?.[1];
    if (temporary === folder || temporary?.startsWith(`${folder}/`) === true) return true;
    if (
      fileOf(pid, "cgroup")
        .split(/[/\n]/)
        .some((part) => parents.has(part))
    )
      return true;
    const [program = "", ...args] = fileOf(pid, "cmdline").split("\0");
    return /(^|\/)(conmon|crun|runc)$/.test(program) && args.some((each) => each.startsWith(`${folder}/`));
  };
  const found = new Set(pids.filter(isOf));
  for (let size = -1; size < found.size;) {
    size = found.size;
    for (const pid of pids) if (found.has(kinOf(pid)?.parent ?? 0)) found.add(pid);
  }
  return [...found];
}

/** Groups within first; one whose last process is just ending stays for the kernel's moment. */
function removeGroups(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) if (entry.isDirectory()) removeGroups(join(path, entry.name));
  for (let round = 0; ; round++) {
    try {
      return rmdirSync(path);
    } catch (error) {
      if ((error as { code?: string }).code !== "EBUSY" || round === 100) throw error;
      Bun.sleepSync(20);
    }
  }
}
