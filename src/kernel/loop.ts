import { FFIType } from "bun:ffi";
import { bytesOf } from "../lib/tar.ts";
import { check, errno, int, libc, SysError } from "./ffi.ts";
import { AT_FDCWD, closeFd, O, openAt } from "./fs.ts";

/** Loop devices: a file as a block device (loop(4), linux/loop.h). */
const c = libc({
  ioctl: { args: [FFIType.i32, FFIType.u64_fast, FFIType.ptr], returns: FFIType.i32 },
});

const LOOP_CTL_GET_FREE = 0x4c82;
/** Linux 5.8: the file and all settings in one step. */
const LOOP_CONFIGURE = 0x4c0a;
const LO_FLAGS_READ_ONLY = 1;
const LO_FLAGS_AUTOCLEAR = 4;
const CONFIG_SIZE = 304;
const FLAGS_AT = 60;
const NAME_AT = 64;
const NAME_SIZE = 63;
const EBUSY = 16;
/** Others take the device that was free a moment ago. */
const TRIES = 32;

/**
 * Gives `work` a block device that is the file at `path`. The kernel frees it when nobody uses it any more, whatever becomes of this process.
 * @throws SysError
 */
export function withLoopDevice<T>(path: string, readOnly: boolean, work: (device: string) => T): T {
  using stack = new DisposableStack();
  const file = stack.adopt(openAt(AT_FDCWD, bytesOf(path), readOnly ? O.RDONLY : O.RDWR), closeFd);
  const control = stack.adopt(openAt(AT_FDCWD, "/dev/loop-control", O.RDWR), closeFd);
  for (let i = 0; i < TRIES; i++) {
    const device = `/dev/loop${check(c.ioctl(int(control), LOOP_CTL_GET_FREE, null), "ioctl LOOP_CTL_GET_FREE")}`;
    const fd = stack.adopt(openAt(AT_FDCWD, device, readOnly ? O.RDONLY : O.RDWR), closeFd);
    const config = Buffer.alloc(CONFIG_SIZE);
    config.writeUInt32LE(file, 0);
    config.writeUInt32LE(LO_FLAGS_AUTOCLEAR | (readOnly ? LO_FLAGS_READ_ONLY : 0), FLAGS_AT);
    Buffer.from(path).copy(config, NAME_AT, 0, NAME_SIZE);
    if (c.ioctl(int(fd), LOOP_CONFIGURE, config) === 0) return work(device);
    const code = errno();
    if (code !== EBUSY) throw new SysError("ioctl LOOP_CONFIGURE", code, `${device} for ${path}`);
  }
  throw new SysError("ioctl LOOP_CONFIGURE", EBUSY, path);
}
