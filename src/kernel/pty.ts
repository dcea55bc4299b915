import { readdirSync, readlinkSync } from "node:fs";
import { FFIType } from "bun:ffi";
import { check, int, libc } from "./ffi.ts";
import { closeFd, O } from "./fs.ts";
import { takeFd } from "./pidfd.ts";
import { openFd } from "./pipe.ts";

const c = libc({
  ioctl: { args: [FFIType.i32, FFIType.u64_fast, FFIType.ptr], returns: FFIType.i32 },
});
// the same call with a number where the others have an address
const flags = libc({ ioctl: { args: [FFIType.i32, FFIType.u64_fast, FFIType.u64_fast], returns: FFIType.i32 } });

const TIOCSWINSZ = 0x5414;
const TIOCSPTLCK = 0x40045431;
const TIOCGPTPEER = 0x5441;

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

/** A duplicate of the master side of a terminal that a process holds; undefined where it holds none, or is gone. @throws SysError as `takeFd` */
export function takeTerminal(pid: number, pidfd: number): number | undefined {
  for (const name of descriptorsOf(pid)) {
    // Seen from the mount namespace that it was opened in: any directory may stand before it.
    if (!targetOf(`/proc/${int(pid)}/fd/${name}`).endsWith("/ptmx")) continue;
    const fd = takeFd(pidfd, Number(name));
    if (fd !== undefined) return fd;
  }
  return undefined;
}

function descriptorsOf(pid: number): string[] {
  return unlessGone(() => readdirSync(`/proc/${int(pid)}/fd`)) ?? [];
}

function targetOf(link: string): string {
  return unlessGone(() => readlinkSync(link)) ?? "";
}

function unlessGone<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (["ENOENT", "ESRCH"].includes((error as { code?: string }).code ?? "")) return undefined;
    throw error;
  }
}
