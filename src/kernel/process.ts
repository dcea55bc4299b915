import { FFIType } from "bun:ffi";
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { check, int, libc, stable } from "./ffi.ts";

const c = libc({
  prlimit: { args: [FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.ptr], returns: FFIType.i32 },
});

const RLIM_INFINITY = 0xffffffffffffffffn;

/** Resource numbers of getrlimit(2) by the name that Docker and the runtime spec use, without `RLIMIT_`. */
export const rlimitNumbers: Readonly<Record<string, number>> = {
  CPU: 0,
  FSIZE: 1,
  DATA: 2,
  STACK: 3,
  CORE: 4,
  RSS: 5,
  NPROC: 6,
  NOFILE: 7,
  MEMLOCK: 8,
  AS: 9,
  LOCKS: 10,
  SIGPENDING: 11,
  MSGQUEUE: 12,
  NICE: 13,
  RTPRIO: 14,
  RTTIME: 15,
};

/** Our own limit. -1 stands for infinity. @throws SysError */
export function readLimit(resource: number): { soft: number; hard: number } {
  const out = stable(16);
  check(c.prlimit(0, int(resource), null, out), "prlimit");
  const value = (n: bigint): number => (n === RLIM_INFINITY ? -1 : Number(n));
  return { soft: value(out.readBigUInt64LE(0)), hard: value(out.readBigUInt64LE(8)) };
}

/** Fields of /proc/<pid>/stat (proc(5)) from the third on, the state. Undefined where there is no such process. */
function statOf(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${int(pid)}/stat`, "latin1");
    // the name in parentheses may hold anything; field 3 follows the last one
    return text
      .slice(text.lastIndexOf(")") + 2)
      .trimEnd()
      .split(" ");
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

const isEnded = ([state]: readonly string[]): boolean => state === "Z" || state === "X";

/** When a process began, in clock ticks since boot: with its pid it names a process for ever. Undefined where there is no such process. */
export function startTimeOf(pid: number): string | undefined {
  const fields = statOf(pid);
  return fields === undefined || isEnded(fields) ? undefined : fields[19];
}

/** `PF_EXITING` of the kernel's include/linux/sched.h, shown in field 9. */
const EXITING = 0x4;

/**
 * Whether a process has ended, or is about to. The first of a PID namespace ends only after all others in it; from its own end on nothing can be started
 * there, though the process is still to be seen.
 */
export function isEnding(pid: number): boolean {
  const fields = statOf(pid);
  return fields === undefined || isEnded(fields) || (Number(fields[6]) & EXITING) !== 0;
}

/** Pids of a session's processes. */
export function processesOfSession(session: number): number[] {
  return readdirSync("/proc").flatMap((name) => {
    const fields = /^\d+$/.test(name) ? statOf(Number(name)) : undefined;
    return fields?.[3] === String(session) && fields[0] !== "Z" ? [Number(name)] : [];
  });
}

/** Pids of a process's children, but for those that its threads have started. */
export function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${int(pid)}/task/${pid}/children`, "latin1")
      .split(" ")
      .filter(Boolean)
      .map(Number);
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

/** Parent and process group of a process, as the host sees them. Undefined where it is gone. */
export function kinOf(pid: number): { parent: number; group: number } | undefined {
  const fields = statOf(pid);
  return fields && { parent: Number(fields[1]), group: Number(fields[2]) };
}

/** Exit code (0–255, 128 + signal) of a process that has ended and waits to be reaped; undefined where it lives or is gone. */
export function zombieExitCode(pid: number): number | undefined {
  const fields = statOf(pid);
  // field 52, the wait status; shown to whoever may trace the process
  return fields !== undefined && isEnded(fields) ? codeOfStatus(Number(fields[49])) : undefined;
}

/** What a shell makes of a wait status. */
export function codeOfStatus(status: number): number {
  const signal = status & 0x7f;
  return signal === 0 ? (status >> 8) & 0xff : 128 + signal;
}

/** Arguments of a process, empty where it is gone or has none. */
export function argumentsOf(pid: number): string[] {
  try {
    const text = readFileSync(`/proc/${int(pid)}/cmdline`, "utf8");
    return text.split("\0").slice(0, -1);
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

/** Whether a process means by an absolute path what we mean: it may be in another mount namespace, or have another root. False where it is gone, too. */
export function sharesPath(pid: number, path: string): boolean {
  try {
    const [theirs, ours] = [statSync(`/proc/${int(pid)}/root${path}`), statSync(path)];
    return theirs.dev === ours.dev && theirs.ino === ours.ino;
  } catch (error) {
    if (isGone(error)) return false;
    throw error;
  }
}

/** Whether a process is in our mount namespace. Undefined where it is gone. */
export function sharesMounts(pid: number): boolean | undefined {
  try {
    return statSync(`/proc/${int(pid)}/ns/mnt`).ino === statSync("/proc/self/ns/mnt").ino;
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

/** The name the process gave itself (at most 15 bytes). Undefined where it is gone. */
export function nameOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${int(pid)}/comm`, "utf8").trimEnd();
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

/** Device and inode of the program a process runs, and the path the kernel names it by. Undefined where it is gone. */
export function programOf(pid: number): { path: string; dev: number; ino: number } | undefined {
  try {
    const link = `/proc/${int(pid)}/exe`;
    const { dev, ino } = statSync(link);
    return { path: readlinkSync(link), dev, ino };
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

function isGone(error: unknown): boolean {
  const code = (error as { code?: string }).code;
  return code === "ENOENT" || code === "ESRCH";
}
