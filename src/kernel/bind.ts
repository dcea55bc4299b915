import { FFIType } from "bun:ffi";
import { check, cstr, int, libc } from "./ffi.ts";
import { closeFd } from "./fs.ts";

/**
 * Bind mounts by descriptor (Linux 5.12): a copy of a mount is made private and, where wanted, read-only before anybody can see it, and is put on a
 * directory or file that is held open, whatever becomes of its path.
 */
const c = libc({
  syscall: { args: [FFIType.i64_fast, FFIType.i64_fast, FFIType.ptr, FFIType.i64_fast, FFIType.ptr, FFIType.u64_fast], returns: FFIType.i64_fast },
});

/** The same numbers on x86-64 and arm64. */
const SYS_open_tree = 428;
const SYS_move_mount = 429;
const SYS_mount_setattr = 442;
const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const AT_RECURSIVE = 0x8000;
const OPEN_TREE_CLONE = 1;
const O_CLOEXEC = 0o2000000;
const MOVE_MOUNT_F_EMPTY_PATH = 0x04;
const MOVE_MOUNT_T_EMPTY_PATH = 0x40;
const MOUNT_ATTR_RDONLY = 1n;
const MOUNT_ATTR_IDMAP = 0x100000n;
const MS_PRIVATE = 1n << 18n;

const empty = Buffer.alloc(1);

/**
 * A copy of what `path` shows, as a mount that is nowhere yet: a descriptor, whose closing takes it away unless it was attached. Private, so that what
 * is mounted and unmounted in it stays there. `recursive`: with the mounts below it. `userNamespace`: a descriptor of one; owners are shown as its map
 * has them (Linux 5.12; not on every file system). @throws SysError
 */
export function cloneTree(path: string, options: { recursive?: boolean; readOnly?: boolean; userNamespace?: number } = {}): number {
  const depth = options.recursive === true ? AT_RECURSIVE : 0;
  const fd = check(c.syscall(SYS_open_tree, AT_FDCWD, cstr(path), OPEN_TREE_CLONE | O_CLOEXEC | depth, null, 0), "open_tree", path);
  const attributes = Buffer.alloc(32);
  const { readOnly, userNamespace } = options;
  attributes.writeBigUInt64LE((readOnly === true ? MOUNT_ATTR_RDONLY : 0n) | (userNamespace === undefined ? 0n : MOUNT_ATTR_IDMAP), 0);
  attributes.writeBigUInt64LE(MS_PRIVATE, 16);
  attributes.writeBigUInt64LE(BigInt(userNamespace ?? 0), 24);
  try {
    check(c.syscall(SYS_mount_setattr, fd, empty, AT_EMPTY_PATH | depth, attributes, attributes.length), "mount_setattr", path);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** Mounts a copy made by `cloneTree` on what the descriptor `target` refers to. @throws SysError */
export function attachTree(tree: number, target: number): void {
  const flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
  check(c.syscall(SYS_move_mount, int(tree), empty, int(target), empty, flags), "move_mount");
}
