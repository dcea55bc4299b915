import { FFIType } from "bun:ffi";
import { check, errno, int, libc, SysError } from "./ffi.ts";
import { closeFd, O } from "./fs.ts";
import { openFd } from "./pipe.ts";

const c = libc({
  ioctl: { args: [FFIType.i32, FFIType.u64_fast, FFIType.ptr], returns: FFIType.i32 },
});
// the same call with a number where the others have an address
const flags = libc({ ioctl: { args: [FFIType.i32, FFIType.u64_fast, FFIType.u64_fast], returns: FFIType.i32 } });

const TIOCSWINSZ = 0x5414;
const TIOCSPTLCK = 0x40045431;
const TIOCGPTPEER = 0x5441;
const ENOTTY = 25;

function size(rows: number, columns: number): Buffer {
  const value = Buffer.alloc(8);
  value.writeUInt16LE(rows & 0xffff, 0);
  value.writeUInt16LE(columns & 0xffff, 2);
  return value;
}

/** A new terminal of the host's own: both sides, close-on-exec. @throws SysError */
export function openTerminal(): { master: number; peer: number } {
  const master = openFd("/dev/ptmx", O.RDWR | O.NOCTTY);
  try {
    check(c.ioctl(master, TIOCSPTLCK, Buffer.alloc(4)), "ioctl TIOCSPTLCK");
    const peer = check(flags.ioctl(master, TIOCGPTPEER, O.RDWR | O.NOCTTY | O.CLOEXEC), "ioctl TIOCGPTPEER");
    return { master, peer };
  } catch (error) {
    closeFd(master);
    throw error;
  }
}

/** Sets the window size of the terminal behind `fd` (either side); its foreground processes get SIGWINCH. @throws SysError */
export function setWindowSize(fd: number, rows: number, columns: number): void {
  check(c.ioctl(int(fd), TIOCSWINSZ, size(rows, columns)), "ioctl TIOCSWINSZ");
}

/**
 * Sets the window size of the terminal that is fd 0 of a process. False where that is no terminal.
 * conmon's control fifo could do it too, but loses the second of two messages (fixed in 2.2). @throws SysError where the process is gone
 */
export function setWindowSizeOf(pid: number, rows: number, columns: number): boolean {
  const fd = openFd(`/proc/${int(pid)}/fd/0`, O.RDWR | O.NOCTTY | O.NONBLOCK);
  try {
    if (c.ioctl(fd, TIOCSWINSZ, size(rows, columns)) === 0) return true;
    const code = errno();
    if (code === ENOTTY) return false;
    throw new SysError("ioctl TIOCSWINSZ", code);
  } finally {
    closeFd(fd);
  }
}
