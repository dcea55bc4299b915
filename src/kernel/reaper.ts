import { FFIType } from "bun:ffi";
import { readFileSync } from "node:fs";
import { check, errno, int, libc, stable, SysError } from "./ffi.ts";

const c = libc({
  prctl: {
    args: [FFIType.i32, FFIType.u64_fast, FFIType.u64_fast, FFIType.u64_fast, FFIType.u64_fast],
    returns: FFIType.i32,
  },
  waitid: { args: [FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
});

const PR_SET_CHILD_SUBREAPER = 36;
const P_ALL = 0;
const P_PID = 1;
const WNOHANG = 1;
const WEXITED = 4;
const WNOWAIT = 0x01000000;
const ECHILD = 10;
/** si_pid of siginfo_t, on 64-bit machines. */
const SI_PID = 16;

/** Orphans below us become our children, not those of pid 1. @throws SysError */
export function becomeSubreaper(): void {
  check(c.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl PR_SET_CHILD_SUBREAPER");
}

/** The main thread's children, orphans among them, that have ended and wait to be reaped; they are left so. One system call where there are none. */
export function endedChildren(): number[] {
  if (wait(P_ALL, 0, WEXITED | WNOHANG | WNOWAIT) === undefined) return [];
  return children().filter((pid) => wait(P_PID, pid, WEXITED | WNOHANG | WNOWAIT) !== undefined);
}

/**
 * Orphans go to the first thread that lives (kernel/exit.c, find_alive_thread). What Workers started is theirs, however long they take to reap it: one that
 * found its child gone would end with ECHILD.
 */
function children(): number[] {
  return readFileSync(`/proc/self/task/${process.pid}/children`, "latin1").split(" ").filter(Boolean).map(Number);
}

/** Reaps that child. Never one that Bun started: its `exited` would never settle. */
export function reapChild(pid: number): void {
  wait(P_PID, pid, WEXITED | WNOHANG);
}

function wait(kind: number, id: number, options: number): number | undefined {
  const info = stable(128);
  if (c.waitid(kind, int(id), info, options) !== 0) {
    const code = errno();
    if (code === ECHILD) return undefined;
    throw new SysError("waitid", code);
  }
  const pid = info.readInt32LE(SI_PID);
  return pid === 0 ? undefined : pid;
}

/** The process is in a pid namespace below ours. */
export function isInNestedNamespace(pid: number): boolean {
  try {
    return (
      (/^NSpid:(.*)$/m
        .exec(readFileSync(`/proc/${int(pid)}/status`, "latin1"))?.[1]
        ?.trim()
        .split(/\s+/).length ?? 1) > 1
    );
  } catch (error) {
    if (isGone(error)) return false;
    throw error;
  }
}

function isGone(error: unknown): boolean {
  return ["ENOENT", "ESRCH"].includes((error as { code?: string }).code ?? "");
}
