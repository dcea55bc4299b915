import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { rmdir } from "node:fs/promises";
import { mount, MS } from "./mount.ts";
import { signalProcess } from "./pidfd.ts";

/**
 * Control groups as this host has them. v2: one tree. v1: a tree per controller. hybrid: v1 trees, and an empty or partly filled v2 tree
 * at `<root>/unified`.
 */
export interface CgroupHierarchy {
  readonly mode: "v1" | "hybrid" | "v2";
  readonly version: 1 | 2;
  /** Where each controller's tree is mounted. v2: every controller maps to the one root. Named v1 trees stand under `name=x`. */
  readonly controllers: ReadonlyMap<string, string>;
  /** The v2 tree, if there is one. */
  readonly unified: string | undefined;
  /** Each tree once. */
  readonly roots: readonly string[];
  /** Hybrid only: controllers that are compiled in but mounted as v1 nowhere. crun refuses to run while there are any. */
  readonly stray: readonly string[];
}

const ROOT = "/sys/fs/cgroup";

/** Reads the host's mounts. @throws Error where no cgroup file system is mounted */
export function detectCgroups(mountInfo: string = readFileSync("/proc/self/mountinfo", "utf8")): CgroupHierarchy {
  const controllers = new Map<string, string>();
  let unified: string | undefined;
  for (const line of mountInfo.split("\n")) {
    const [left, right] = line.split(" - ");
    const target = left?.split(" ")[4];
    const [type, , superOptions] = right?.split(" ") ?? [];
    if (target === undefined || !target.startsWith(ROOT)) continue;
    if (type === "cgroup2") unified ??= target;
    if (type !== "cgroup") continue;
    for (const option of superOptions?.split(",") ?? []) {
      if (option.startsWith("name=") || knownControllers.has(option)) controllers.set(option, target);
    }
  }
  if (unified !== undefined && ![...controllers.keys()].some((name) => knownControllers.has(name))) {
    return {
      mode: "v2",
      version: 2,
      controllers: new Map(listFile(`${unified}/cgroup.controllers`).map((name) => [name, unified])),
      unified,
      roots: [unified],
      stray: [],
    };
  }
  if (controllers.size === 0) throw new Error(`no cgroup file system is mounted under ${ROOT}`);
  const stray = unified === undefined ? [] : listFile(`${unified}/cgroup.controllers`);
  const roots = [...new Set([...controllers.values(), ...(unified === undefined ? [] : [unified])])];
  return { mode: unified === undefined ? "v1" : "hybrid", version: 1, controllers, unified, roots, stray };
}

const knownControllers = new Set("cpu cpuacct cpuset memory devices freezer blkio pids hugetlb net_cls net_prio perf_event rdma misc".split(" "));

function listFile(path: string): string[] {
  return readFileSync(path, "utf8").split(/\s+/).filter(Boolean);
}

/**
 * Mounts the stray controllers of a hybrid host as v1 trees, as Debian's cgroupfs-mount does. Returns their names; those that could not be
 * mounted are in `failed` (a v2 child group uses them). These mounts stay: other programs may use them at once.
 */
export function mountStrayControllers(hierarchy: CgroupHierarchy): { mounted: string[]; failed: Map<string, Error> } {
  const mounted: string[] = [];
  const failed = new Map<string, Error>();
  for (const name of hierarchy.stray) {
    const target = `${ROOT}/${name}`;
    try {
      mkdirSync(target, { recursive: true });
      mount("cgroup", target, "cgroup", MS.NOSUID | MS.NODEV | MS.NOEXEC, name);
      mounted.push(name);
    } catch (error) {
      failed.set(name, error as Error);
    }
  }
  return { mounted, failed };
}

/** Makes crun read the v2 tree's list of controllers as empty, by a bind mount of /dev/null over it. @throws SysError */
export function hideStrayControllers(hierarchy: CgroupHierarchy): void {
  mount("/dev/null", `${hierarchy.unified}/cgroup.controllers`, "none", MS.BIND);
}

/** v2: makes `path` and hands every controller down to its children. v1: nothing to do, the runtime makes the directories. @throws Error */
export function prepareParent(hierarchy: CgroupHierarchy, path: string): void {
  if (hierarchy.version === 1 || hierarchy.unified === undefined) return;
  let directory = hierarchy.unified;
  for (const part of ["", ...path.split("/").filter(Boolean)]) {
    if (part !== "") directory += `/${part}`;
    mkdirSync(directory, { recursive: true });
    const wanted = listFile(`${directory}/cgroup.controllers`);
    const present = new Set(listFile(`${directory}/cgroup.subtree_control`));
    // one by one: a controller that can't be handed down (cpu with real-time processes about) must not take the others with it
    for (const name of wanted.filter((each) => !present.has(each))) {
      try {
        writeFileSync(`${directory}/cgroup.subtree_control`, `+${name}`);
      } catch (error) {
        if (directory !== hierarchy.unified || (error as { code?: string }).code !== "EBUSY") continue;
        // the root of our cgroup namespace holds processes, we in a container among them: v2 wants those in a leaf
        moveProcesses(hierarchy.unified, `${hierarchy.unified}/init`);
        writeFileSync(`${directory}/cgroup.subtree_control`, `+${name}`);
      }
    }
  }
}

function moveProcesses(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const pid of listFile(`${from}/cgroup.procs`)) {
    try {
      writeFileSync(`${to}/cgroup.procs`, pid);
    } catch (error) {
      if ((error as { code?: string }).code !== "ESRCH") throw error;
    }
  }
}

/** The group's directory in the tree of `controller`. Undefined where the host has no such controller. */
export function directoryOf(hierarchy: CgroupHierarchy, controller: string, path: string): string | undefined {
  const root = hierarchy.controllers.get(controller) ?? (hierarchy.version === 2 ? hierarchy.unified : undefined);
  return root === undefined ? undefined : root + path;
}

/** The tree to ask for processes: the freezer's on v1, which every runtime fills. */
function processDirectory(hierarchy: CgroupHierarchy, path: string): string {
  const root =
    hierarchy.version === 2 ? hierarchy.unified : (hierarchy.controllers.get("freezer") ?? hierarchy.controllers.get("devices") ?? hierarchy.roots[0]);
  return `${root}${path}`;
}

/** Host pids of the group and of the groups below it; empty where it is gone. */
export function pidsIn(hierarchy: CgroupHierarchy, path: string): number[] {
  const pids: number[] = [];
  visit(processDirectory(hierarchy, path), (directory) => {
    for (const pid of readOr(`${directory}/cgroup.procs`, "").split("\n")) if (pid !== "") pids.push(Number(pid));
  });
  return pids;
}

function visit(directory: string, use: (directory: string) => void): void {
  for (const child of childGroups(directory)) visit(`${directory}/${child}`, use);
  use(directory);
}

function childGroups(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

function readOr<T>(path: string, absent: T): string | T {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (isGone(error)) return absent;
    throw error;
  }
}

function isGone(error: unknown): boolean {
  const code = (error as { code?: string }).code;
  return code === "ENOENT" || code === "ENODEV" || code === "ENOTDIR";
}

/**
 * Removes the group from every tree, groups below it first. False where processes are left in it. Off the event loop: rmdir waits for whoever is being
 * moved between groups anywhere, 20 ms under load (cgroup_mutex; measured, Linux 6.18). @throws Error
 */
export async function removeCgroup(hierarchy: CgroupHierarchy, path: string): Promise<boolean> {
  const empty = await Promise.all(hierarchy.roots.map((root) => removeTree(root + path)));
  return empty.every(Boolean);
}

async function removeTree(directory: string): Promise<boolean> {
  try {
    await rmdir(directory);
    return true;
  } catch (error) {
    if (isGone(error)) return true;
    if ((error as { code?: string }).code !== "EBUSY") throw error;
  }
  const children = childGroups(directory);
  if (children.length === 0) return false;
  let empty = true;
  for (const child of children) empty = (await removeTree(`${directory}/${child}`)) && empty;
  return empty && (await removeTree(directory));
}

/** SIGKILL for every process of the group, frozen ones as well: a runtime that is killed while it ends a container leaves that frozen. */
export function killCgroup(hierarchy: CgroupHierarchy, path: string): void {
  if (hierarchy.version === 2 && existsSync(`${hierarchy.unified}${path}/cgroup.kill`)) {
    writeFileSync(`${hierarchy.unified}${path}/cgroup.kill`, "1");
    return;
  }
  for (const pid of pidsIn(hierarchy, path)) signalProcess(pid, 9);
  const freezer = hierarchy.controllers.get("freezer");
  if (freezer === undefined) return;
  // v1 keeps the killed frozen too (kernel: Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst)
  visit(freezer + path, (directory) => {
    try {
      writeFileSync(`${directory}/freezer.state`, "THAWED");
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  });
}

/**
 * Stops or continues all processes of the group; resolves when the kernel says it is so (1.6–2.7 ms measured on v1).
 * @throws Error where the host has no freezer, or the group doesn't freeze within `timeoutMs`
 */
export async function setFrozen(hierarchy: CgroupHierarchy, path: string, frozen: boolean, timeoutMs = 10_000): Promise<void> {
  const v1 = hierarchy.controllers.get("freezer");
  const isV1 = hierarchy.version === 1 && v1 !== undefined;
  const directory = isV1 ? v1 + path : hierarchy.unified === undefined ? undefined : hierarchy.unified + path;
  if (directory === undefined) throw new Error("this host has no cgroup freezer");
  const [file, value] = isV1 ? ["freezer.state", frozen ? "FROZEN" : "THAWED"] : ["cgroup.freeze", frozen ? "1" : "0"];
  const isDone = (): boolean =>
    isV1 ? readFileSync(`${directory}/freezer.state`, "utf8").trim() === value : readFileSync(`${directory}/cgroup.events`, "utf8").includes(`frozen ${value}`);
  const deadline = performance.now() + timeoutMs;
  for (let attempt = 1, wait = 0.2; ; attempt++, wait = Math.min(wait * 2, 20)) {
    // v1 can hang in FREEZING: an execve waits for threads that are frozen already. A short thaw lets it through, as in runc
    if (isV1 && frozen && attempt % 5 === 0) {
      writeFileSync(`${directory}/${file}`, "THAWED");
      await Bun.sleep(5);
    }
    writeFileSync(`${directory}/${file}`, value);
    if (isDone()) return;
    if (performance.now() > deadline) {
      if (frozen) writeFileSync(`${directory}/${file}`, isV1 ? "THAWED" : "0");
      throw new Error(`processes did not ${frozen ? "freeze" : "thaw"} within ${timeoutMs} ms`);
    }
    await Bun.sleep(wait);
  }
}

/** Whether the group is frozen now. */
export function isFrozen(hierarchy: CgroupHierarchy, path: string): boolean {
  const v1 = hierarchy.controllers.get("freezer");
  if (hierarchy.version === 1 && v1 !== undefined) return readOr(`${v1}${path}/freezer.state`, "THAWED").trim() !== "THAWED";
  return readOr(`${hierarchy.unified}${path}/cgroup.freeze`, "").trim() === "1";
}

/** How often the kernel killed a process of the group for want of memory. Read it before the group is removed. */
export function oomKills(hierarchy: CgroupHierarchy, path: string): number {
  const directory = directoryOf(hierarchy, "memory", path);
  if (directory === undefined) return 0;
  const text = readOr(`${directory}/${hierarchy.version === 2 ? "memory.events" : "memory.oom_control"}`, "");
  return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
}
