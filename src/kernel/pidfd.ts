import { FFIType } from "bun:ffi";
import { codeOfStatus } from "./process.ts";
import { errno, int, libc, stable, SysError } from "./ffi.ts";
import { closeFd } from "./fs.ts";

// syscall(2) is variadic; on x86-64 and arm64 its integer arguments travel like those of any function
const c = libc({ syscall: { args: [FFIType.i64_fast, FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.i32], returns: FFIType.i64_fast } });
const ioctl = libc({ ioctl: { args: [FFIType.i32, FFIType.u64_fast, FFIType.ptr], returns: FFIType.i32 } });

const SYS_pidfd_send_signal = 424;
const SYS_pidfd_open = 434;
const ESRCH = 3;
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
