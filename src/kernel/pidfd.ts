import { FFIType } from "bun:ffi";
import { codeOfStatus, startTimeOf } from "./process.ts";
import { errno, int, libc, stable, SysError } from "./ffi.ts";
import { closeFd } from "./fs.ts";

// syscall(2) is variadic; on x86-64 and arm64 its integer arguments travel like those of any function
const c = libc({ syscall: { args: [FFIType.i64_fast, FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.i32], returns: FFIType.i64_fast } });
const ioctl = libc({ ioctl: { args: [FFIType.i32, FFIType.u64_fast, FFIType.ptr], returns: FFIType.i32 } });

const SYS_pidfd_send_signal = 424;
const SYS_pidfd_open = 434;
const SYS_pidfd_getfd = 438;
const ESRCH = 3;
const EBADF = 9;
const PIDFD_INFO_EXIT = 8n;
/** _IOWR(0xFF, 11, struct pidfd_info of 64 bytes). */
const PIDFD_GET_INFO = 0xc040ff0b;

/** A descriptor for a process, or undefined where there is none. @throws SysError */
export function openPidfd(pid: number): number | undefined {
  const fd = Number(c.syscall(SYS_pidfd_open, int(pid), 0, null, 0));
  if (fd >= 0) return fd;
  const code = errno();
  if (code === ESRCH) return undefined;
  throw new SysError("pidfd_open", code, String(pid));
}

/** A pidfd on that very process, if it lives. `startTime`: as `startTimeOf` tells it. @throws SysError */
export function openProcess(pid: number, startTime: string): number | undefined {
  const fd = openPidfd(pid);
  if (fd === undefined) return undefined;
  // checked after the open: from there on the pid can't be another's
  if (startTimeOf(pid) === startTime && isAlive(fd)) return fd;
  closeFd(fd);
  return undefined;
}

/**
 * A duplicate of a descriptor of another process; undefined where that has none of the number, or is gone. @throws SysError EPERM also for root where
 * kernel.yama.ptrace_scope is 3
 */
export function takeFd(pidfd: number, fd: number): number | undefined {
  const taken = Number(c.syscall(SYS_pidfd_getfd, int(pidfd), int(fd), null, 0));
  if (taken >= 0) return taken;
  const code = errno();
  if (code === ESRCH || code === EBADF) return undefined;
  throw new SysError("pidfd_getfd", code, String(fd));
}

/** Sends a signal; false where the process is gone. @throws SysError */
export function sendSignal(pidfd: number, signal: number): boolean {
  if (Number(c.syscall(SYS_pidfd_send_signal, int(pidfd), int(signal), null, 0)) === 0) return true;
  const code = errno();
  if (code === ESRCH) return false;
  throw new SysError("pidfd_send_signal", code, `signal ${signal}`);
}

/** True while there is such a process, be it a zombie. */
export function isAlive(pidfd: number): boolean {
  return sendSignal(pidfd, 0);
}

/**
 * Wait status of a process that has ended and been reaped by its parent, from whoever held a pidfd on it: 0–255, 128 + signal.
 * Undefined on kernels before 6.15, or where it isn't reaped yet.
 */
export function exitCodeOf(pidfd: number): number | undefined {
  const info = stable(64);
  info.writeBigUInt64LE(PIDFD_INFO_EXIT, 0);
  if (ioctl.ioctl(int(pidfd), PIDFD_GET_INFO, info) !== 0) return undefined;
  if ((info.readBigUInt64LE(0) & PIDFD_INFO_EXIT) === 0n) return undefined;
  return codeOfStatus(info.readInt32LE(60));
}

/** Opens the pidfd and sends one signal; false where the process is gone. @throws SysError */
export function signalProcess(pid: number, signal: number): boolean {
  const fd = openPidfd(pid);
  if (fd === undefined) return false;
  try {
    return sendSignal(fd, signal);
  } finally {
    closeFd(fd);
  }
}
