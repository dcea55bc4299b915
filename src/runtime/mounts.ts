import { existsSync, readFileSync, realpathSync } from "node:fs";
import { unescapePath } from "../kernel/mountinfo.ts";
import { invalidArgument } from "../lib/errors.ts";
import type { MountSpec } from "../oci/runtime-spec.ts";

const SHM_SIZE = 64 << 20;

export interface MountInput {
  /** The ipc namespace belongs to no user namespace of the container's: the kernel mounts no mqueue for it, so that the host's is shown. */
  hostMqueue?: boolean;
  privileged: boolean;
  writableCgroups: boolean;
  readonlyRootfs: boolean;
  /** `tmpfs` of `shmSize` bytes, a host path to bind (shared between containers, or the host's), or none. */
  shm: { size?: number } | { bind: string; flags?: readonly string[] } | undefined;
  /** /etc files and the like, in order; a user's mount on the same place wins. */
  own: MountSpec[];
  user: MountSpec[];
}

/** Everything that is mounted in the container, in mounting order, and the root's propagation if a bind mount needs another than private. */
export function buildMounts(input: MountInput): { mounts: MountSpec[]; rootfsPropagation?: string } {
  const user = input.user.toSorted((a, b) => depth(a.destination) - depth(b.destination));
  const taken = new Set(user.map((each) => each.destination));
  const base = [...defaultMounts(input), ...shmMount(input.shm)].filter(
    (each) => !taken.has(each.destination) && !(taken.has("/dev") && each.destination.startsWith("/dev/")),
  );
  // the root is mounted read-only by the runtime, but file systems mounted on it are not; /dev, /proc, and what is given to be written to, stay usable as Docker keeps them
  if (input.readonlyRootfs)
    for (const each of base) if (!writable.has(each.destination) && !each.options?.includes("rw")) each.options = readOnly(each.options ?? []);
  const own = input.own.filter((each) => !taken.has(each.destination));
  const propagation = rootPropagation(user);
  // of version 1 they are the host's own mounts, bound: what is mounted on them would be seen there
  if (propagation !== undefined) for (const each of base) if (each.type === "cgroup") each.options = [...(each.options ?? []), "rprivate"];
  // /etc/hosts and the like are there also where the user mounts a /etc of his own, as in Docker
  return { mounts: [...base, ...user, ...own], ...(propagation !== undefined && { rootfsPropagation: propagation }) };
}

const writable = new Set(["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"]);

function readOnly(options: string[]): string[] {
  return [...options.filter((each) => each !== "rw" && each !== "ro"), "ro"];
}

function depth(path: string): number {
  return path.split("/").filter(Boolean).length;
}

/** Source: moby, oci/defaults.go. */
function defaultMounts({ privileged, writableCgroups, hostMqueue }: Pick<MountInput, "privileged" | "writableCgroups" | "hostMqueue">): MountSpec[] {
  const access = privileged ? "rw" : "ro";
  return [
    { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
    { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "strictatime", "mode=755", "size=65536k"] },
    { destination: "/dev/pts", type: "devpts", source: "devpts", options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
    { destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", access] },
    { destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: [writableCgroups ? "rw" : "ro", "nosuid", "noexec", "nodev"] },
    ...mqueue(hostMqueue === true),
  ];
}

function mqueue(hostMqueue: boolean): MountSpec[] {
  if (!hostMqueue) return [{ destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"] }];
  if (!existsSync("/dev/mqueue")) return [];
  return [{ destination: "/dev/mqueue", type: "bind", source: "/dev/mqueue", options: ["bind", "rprivate", "nosuid", "noexec", "nodev"] }];
}

function shmMount(shm: MountInput["shm"]): MountSpec[] {
  if (shm === undefined) return [];
  if ("bind" in shm) return [{ destination: "/dev/shm", type: "bind", source: shm.bind, options: ["rbind", "rprivate", ...(shm.flags ?? [])] }];
  return [{ destination: "/dev/shm", type: "tmpfs", source: "shm", options: ["nosuid", "noexec", "nodev", "mode=1777", `size=${shm.size || SHM_SIZE}`] }];
}

const propagations = new Set(["private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"]);
/** What a file system without peers can be but private. */
const lasting = new Set(["shared", "rshared", "unbindable", "runbindable"]);

/** A bind mount with Docker's default propagation, rprivate, unless `options` name another. */
export function bindMount(source: string, destination: string, options: readonly string[], isReadOnly: boolean): MountSpec {
  const isPlain = options.includes("bind");
  // crun 1.8 makes a plain bind recursive where its propagation is; without mounts below the words mean the same
  const given = options.filter((each) => each !== "rw" && each !== "ro").map((each) => (isPlain && propagations.has(each) ? each.replace(/^r/, "") : each));
  const access = given.includes("rro") ? [] : [isReadOnly ? "ro" : "rw"];
  const bind = given.some((each) => each === "bind" || each === "rbind") ? [] : ["rbind"];
  const propagation = given.some((each) => propagations.has(each)) ? [] : [isPlain ? "private" : "rprivate"];
  return { destination, type: "bind", source, options: [...bind, ...given, ...access, ...propagation] };
}

/** A tmpfs: noexec, nosuid, nodev unless `options` say otherwise; of contradicting options the last one counts. @throws EngineError invalidArgument */
export function tmpfsMount(destination: string, options: readonly string[], isReadOnly = false): MountSpec {
  const merged = new Map<string, string>();
  for (const option of ["noexec", "nosuid", "nodev", "rprivate", ...options, ...(isReadOnly ? ["ro"] : [])]) {
    if (option === "") continue;
    const [name = "", value] = option.split("=", 2);
    const opposite = tmpfsFlags.get(name);
    if (opposite === undefined && value === undefined && !propagations.has(name)) throw invalidArgument(`invalid tmpfs option ["${option}"]`);
    if (opposite === undefined && value !== undefined && !tmpfsValues.has(name)) throw invalidArgument(`invalid tmpfs option ["${option}"]`);
    if (opposite !== undefined) merged.delete(opposite);
    if (propagations.has(name)) for (const other of propagations) merged.delete(other);
    merged.delete(name);
    merged.set(name, option);
  }
  return { destination, type: "tmpfs", source: "tmpfs", options: [...merged.values()] };
}

/** Each flag with the one that it undoes. */
const tmpfsFlags = new Map(
  [
    ["ro", "rw"],
    ["exec", "noexec"],
    ["suid", "nosuid"],
    ["dev", "nodev"],
    ["sync", "async"],
    ["atime", "noatime"],
    ["diratime", "nodiratime"],
    ["relatime", "norelatime"],
    ["strictatime", "nostrictatime"],
  ].flatMap(
    ([a, b]) =>
      [
        [a!, b!],
        [b!, a!],
      ] as const,
  ),
);
const tmpfsValues = new Set(["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"]);

/** A shared bind mount needs a shared root in the container, and a source that is shared on the host, as Docker demands. @throws EngineError */
function rootPropagation(mounts: readonly MountSpec[]): string | undefined {
  let result: string | undefined;
  for (const each of mounts) {
    // by default crun makes all mounts private when they are there: this one's is then its root's alone
    if (each.type === "tmpfs" && each.options?.some((option) => lasting.has(option))) result ??= "private";
    if (each.type !== "bind") continue;
    const shared = each.options?.some((option) => option === "shared" || option === "rshared");
    const slave = each.options?.some((option) => option === "slave" || option === "rslave");
    if (!shared && !slave) continue;
    const source = each.source ?? "";
    const mount = sourceMount(source);
    if (shared && !mount.optional.includes("shared:")) throw invalidArgument(`path ${source} is mounted on ${mount.target} but it is not a shared mount`);
    if (slave && !/shared:|master:/.test(mount.optional)) {
      throw invalidArgument(`path ${source} is mounted on ${mount.target} but it is not a shared or slave mount`);
    }
    result = shared ? "shared" : result === "shared" ? result : "rslave";
  }
  return result;
}

/** Whether what is mounted below `source` later, or unmounted, is told to others. */
export function isShared(source: string): boolean {
  return /shared:|master:/.test(sourceMount(source).optional);
}

/** The name of the file system that `path` lies on. */
export function fileSystemAt(path: string): string {
  return sourceMount(path).type;
}

function sourceMount(source: string): { target: string; optional: string; type: string } {
  const path = `${realpathSync(source)}/`;
  let best = { target: "/", optional: "", type: "" };
  for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    const [mount = "", superblock = ""] = line.split(" - ");
    const fields = mount.split(" ");
    if (fields[4] === undefined) continue;
    const target = unescapePath(fields[4]);
    if (target.length < best.target.length) continue;
    if (target === "/" || path.startsWith(`${target}/`)) best = { target, optional: fields.slice(6).join(" "), type: superblock.split(" ")[0] ?? "" };
  }
  return best;
}
