import { FFIType } from "bun:ffi";
import { bytesOf } from "../lib/tar.ts";
import { check, cstr, errno, int, libc, stable, SysError } from "./ffi.ts";

/**
 * File system calls relative to a directory's descriptor, with names as bytes (strings with one character a byte, latin1). They are synchronous: for
 * Workers, and for the few cheap ones on the main thread.
 */
const c = libc({
  openat: { args: [FFIType.i32, FFIType.ptr, FFIType.i32, FFIType.u32], returns: FFIType.i32 },
  syscall: { args: [FFIType.i64_fast, FFIType.i64_fast, FFIType.ptr, FFIType.ptr, FFIType.i64_fast], returns: FFIType.i64_fast },
  close: { args: [FFIType.i32], returns: FFIType.i32 },
  read: { args: [FFIType.i32, FFIType.ptr, FFIType.u64_fast], returns: FFIType.i64_fast },
  write: { args: [FFIType.i32, FFIType.ptr, FFIType.u64_fast], returns: FFIType.i64_fast },
  mkdirat: { args: [FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  mknodat: { args: [FFIType.i32, FFIType.ptr, FFIType.u32, FFIType.u64_fast], returns: FFIType.i32 },
  symlinkat: { args: [FFIType.ptr, FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
  linkat: { args: [FFIType.i32, FFIType.ptr, FFIType.i32, FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
  unlinkat: { args: [FFIType.i32, FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
  fchown: { args: [FFIType.i32, FFIType.u32, FFIType.u32], returns: FFIType.i32 },
  fchmod: { args: [FFIType.i32, FFIType.u32], returns: FFIType.i32 },
  futimens: { args: [FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
  ftruncate: { args: [FFIType.i32, FFIType.i64_fast], returns: FFIType.i32 },
  lseek: { args: [FFIType.i32, FFIType.i64_fast, FFIType.i32], returns: FFIType.i64_fast },
  fchownat: { args: [FFIType.i32, FFIType.ptr, FFIType.u32, FFIType.u32, FFIType.i32], returns: FFIType.i32 },
  fchmodat: { args: [FFIType.i32, FFIType.ptr, FFIType.u32, FFIType.i32], returns: FFIType.i32 },
  utimensat: { args: [FFIType.i32, FFIType.ptr, FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
  statx: { args: [FFIType.i32, FFIType.ptr, FFIType.i32, FFIType.u32, FFIType.ptr], returns: FFIType.i32 },
  readlinkat: { args: [FFIType.i32, FFIType.ptr, FFIType.ptr, FFIType.u64_fast], returns: FFIType.i64_fast },
  statfs: { args: [FFIType.ptr, FFIType.ptr], returns: FFIType.i32 },
  fstatfs: { args: [FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
  getdents64: { args: [FFIType.i32, FFIType.ptr, FFIType.u64_fast], returns: FFIType.i64_fast },
});

/** "The current directory" for `*at` calls. */
export const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_REMOVEDIR = 0x200;
const AT_EMPTY_PATH = 0x1000;
const SYS_OPENAT2 = 437;

/** Flags of open(2); DIRECTORY and NOFOLLOW differ on arm64. */
const arm = process.arch === "arm64";
export const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  NOCTTY: 0o400,
  NONBLOCK: 0o4000,
  DIRECTORY: arm ? 0o40000 : 0o200000,
  NOFOLLOW: arm ? 0o100000 : 0o400000,
  CLOEXEC: 0o2000000,
  PATH: 0o10000000,
} as const;

/** File types in a mode. */
export const S = {
  IFMT: 0o170000,
  IFSOCK: 0o140000,
  IFLNK: 0o120000,
  IFREG: 0o100000,
  IFBLK: 0o060000,
  IFDIR: 0o040000,
  IFCHR: 0o020000,
  IFIFO: 0o010000,
} as const;

/** Resolve flags of openat2(2). */
export const RESOLVE = { NO_MAGICLINKS: 2, NO_SYMLINKS: 4, BENEATH: 8, IN_ROOT: 16 } as const;

export interface Stat {
  /** Type and permissions. */
  mode: number;
  nlink: number;
  uid: number;
  gid: number;
  ino: bigint;
  size: number;
  /** Bytes on disk. */
  allocated: number;
  atimeSeconds: number;
  atimeNanoseconds: number;
  mtimeSeconds: number;
  mtimeNanoseconds: number;
  rdevMajor: number;
  rdevMinor: number;
  devMajor: number;
  devMinor: number;
  /** Something is mounted on it (Linux 5.8), in whichever mount namespace it was reached. */
  mountRoot: boolean;
}

/** A NUL-terminated buffer from a name kept as bytes. @throws SysError EINVAL for a NUL inside */
export function nameBytes(name: string): Buffer {
  if (name.includes("\0")) throw new SysError("name", 22, JSON.stringify(name));
  return Buffer.from(`${name}\0`, "latin1");
}

function shown(name: string): string {
  return Buffer.from(name, "latin1").toString("utf8");
}

export function openAt(dir: number, name: string, flags: number, mode = 0): number {
  return check(c.openat(int(dir), nameBytes(name), int(flags | O.CLOEXEC), int(mode)), "openat", shown(name));
}

/** Opens what a descriptor refers to (it may be O_PATH) again, with other flags. For many files: a path through /proc takes the kernel longer than what it leads to. */
export class Reopener implements Disposable {
  readonly #descriptors = openAt(AT_FDCWD, "/proc/self/fd", O.PATH | O.DIRECTORY);

  /** @throws SysError */
  open(fd: number, flags: number): number {
    return openAt(this.#descriptors, String(int(fd)), flags);
  }

  [Symbol.dispose](): void {
    closeFd(this.#descriptors);
  }
}

const EEXIST = 17;

/** A new file, open for writing; undefined where something has its name already. */
export function createAt(dir: number, name: string, mode: number): number | undefined {
  const fd = c.openat(int(dir), nameBytes(name), O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW | O.CLOEXEC, int(mode));
  if (fd >= 0) return fd;
  const code = errno();
  if (code === EEXIST) return undefined;
  throw new SysError("openat", code, shown(name));
}

const EAGAIN = 11;
/** A rename or mount anywhere on the host during a walk with `..` in it makes the kernel give up: more in a row than this is no chance. */
const MOST_ATTEMPTS = 128;

/** openat2(2): `resolve` from RESOLVE. Glibc has no wrapper before 2.42, so this is the bare system call. */
export function openAt2(dir: number, name: string, flags: number, resolve: number): number {
  const how = Buffer.alloc(24);
  how.writeBigUInt64LE(BigInt(flags | O.CLOEXEC), 0);
  how.writeBigUInt64LE(BigInt(resolve), 16);
  const path = nameBytes(name);
  for (let attempt = 1; ; attempt++) {
    const fd = Number(c.syscall(SYS_OPENAT2, int(dir), path, how, how.length));
    if (fd >= 0) return fd;
    const code = errno();
    if (code !== EAGAIN || attempt === MOST_ATTEMPTS) throw new SysError("openat2", code, shown(name));
  }
}

/** close(2). @throws SysError EBADF: a double close is a bug that must show */
export function closeFd(fd: number): void {
  check(c.close(int(fd)), "close");
}

/** Bytes read into `buffer`; 0 at the end. */
export function readFd(fd: number, buffer: Uint8Array): number {
  return check(c.read(int(fd), buffer, buffer.length), "read");
}

/** Writes all of it. @throws SysError, ENOSPC among them */
export function writeFd(fd: number, bytes: Uint8Array): void {
  let rest = bytes;
  while (rest.length > 0) {
    const written = check(c.write(int(fd), rest, rest.length), "write");
    rest = rest.subarray(written);
  }
}

const SEEK_CUR = 1;

/** Goes on `length` bytes further: what is passed over reads as zeros, and takes no room on the disk, once something is written after it. */
export function skipFd(fd: number, length: number): void {
  check(c.lseek(int(fd), length, SEEK_CUR), "lseek");
}

export function truncateFd(fd: number, size: number): void {
  check(c.ftruncate(int(fd), size), "ftruncate");
}

export function chownFd(fd: number, uid: number, gid: number): void {
  check(c.fchown(int(fd), int(uid), int(gid)), "fchown");
}

export function chmodFd(fd: number, mode: number): void {
  check(c.fchmod(int(fd), int(mode)), "fchmod");
}

export function mkdirAt(dir: number, name: string, mode: number): void {
  check(c.mkdirat(int(dir), nameBytes(name), int(mode)), "mkdirat", shown(name));
}

/** Linux's dev_t: 12 + 20 bits split over 64. */
export function deviceNumber(major: number, minor: number): number {
  return Number((BigInt(minor) & 0xffn) | ((BigInt(major) & 0xfffn) << 8n) | ((BigInt(minor) & ~0xffn) << 12n) | ((BigInt(major) & ~0xfffn) << 32n));
}

/** `mode` with the type (S.IFCHR, S.IFBLK, S.IFIFO, S.IFSOCK). */
export function mknodAt(dir: number, name: string, mode: number, major = 0, minor = 0): void {
  check(c.mknodat(int(dir), nameBytes(name), int(mode), deviceNumber(major, minor)), "mknodat", shown(name));
}

export function symlinkAt(target: string, dir: number, name: string): void {
  check(c.symlinkat(nameBytes(target), int(dir), nameBytes(name)), "symlinkat", shown(name));
}

/** Hard link; a symlink as source is linked itself. */
export function linkAt(fromDir: number, from: string, dir: number, name: string): void {
  check(c.linkat(int(fromDir), nameBytes(from), int(dir), nameBytes(name), 0), "linkat", shown(name));
}

export function unlinkAt(dir: number, name: string, options: { directory?: boolean } = {}): void {
  check(c.unlinkat(int(dir), nameBytes(name), options.directory === true ? AT_REMOVEDIR : 0), "unlinkat", shown(name));
}

/** Of the name itself, also where it is a symlink. */
export function chownAt(dir: number, name: string, uid: number, gid: number): void {
  check(c.fchownat(int(dir), nameBytes(name), int(uid), int(gid), AT_SYMLINK_NOFOLLOW), "fchownat", shown(name));
}

/** Follows a symlink (the kernel has no modes on symlinks): call it on names known to be none. */
export function chmodAt(dir: number, name: string, mode: number): void {
  check(c.fchmodat(int(dir), nameBytes(name), int(mode), 0), "fchmodat", shown(name));
}

/**
 * Of the name itself, for trees that somebody else may change at any time: a symlink put in its place isn't followed (EOPNOTSUPP, or its own mode
 * changes, which means nothing). There is no such call before Linux 6.6 (fchmodat2), so what the name is goes through a descriptor.
 */
export function chmodItselfAt(dir: number, name: string, mode: number): void {
  const fd = openAt(dir, name, O.PATH | O.NOFOLLOW);
  try {
    check(c.fchmodat(AT_FDCWD, nameBytes(`/proc/self/fd/${fd}`), int(mode), 0), "fchmodat", shown(name));
  } finally {
    closeFd(fd);
  }
}

interface Time {
  seconds: number;
  nanoseconds: number;
}

const times = stable(32);

/** Two struct timespec, atime (as the mtime, where it isn't given) and mtime, in the same memory each time: calls are over before the next. */
function bothTimes(mtime: Time, atime = mtime): Buffer {
  writeTime(atime, 0);
  writeTime(mtime, 16);
  return times;
}

/** Seconds may be negative; in two halves, since a bigint for each file would be garbage. */
function writeTime({ seconds, nanoseconds }: Time, at: number): void {
  times.writeUInt32LE(seconds >>> 0, at);
  times.writeInt32LE(Math.floor(seconds / 2 ** 32), at + 4);
  times.writeUInt32LE(nanoseconds, at + 8);
}

/** Sets the mtime, and the atime (alike, unless given), of the name itself. */
export function utimesAt(dir: number, name: string, seconds: number, nanoseconds: number, atime?: Time): void {
  check(c.utimensat(int(dir), nameBytes(name), bothTimes({ seconds, nanoseconds }, atime), AT_SYMLINK_NOFOLLOW), "utimensat", shown(name));
}

/** As utimesAt, of an open file. */
export function utimesFd(fd: number, seconds: number, nanoseconds: number): void {
  check(c.futimens(int(fd), bothTimes({ seconds, nanoseconds })), "futimens");
}

const ENOENT = 2;
const ENOTDIR = 20;
const STATX_BASIC = 0x7ff;
const STATX_ATTR_MOUNT_ROOT = 0x2000n;

function parseStatx(b: Buffer): Stat {
  return {
    mode: b.readUInt16LE(28),
    nlink: b.readUInt32LE(16),
    uid: b.readUInt32LE(20),
    gid: b.readUInt32LE(24),
    ino: b.readBigUInt64LE(32),
    size: Number(b.readBigUInt64LE(40)),
    allocated: Number(b.readBigUInt64LE(48)) * 512,
    atimeSeconds: Number(b.readBigInt64LE(64)),
    atimeNanoseconds: b.readUInt32LE(72),
    mtimeSeconds: Number(b.readBigInt64LE(112)),
    mtimeNanoseconds: b.readUInt32LE(120),
    rdevMajor: b.readUInt32LE(128),
    rdevMinor: b.readUInt32LE(132),
    devMajor: b.readUInt32LE(136),
    devMinor: b.readUInt32LE(140),
    mountRoot: (b.readBigUInt64LE(8) & STATX_ATTR_MOUNT_ROOT) !== 0n,
  };
}

/** lstat of a name under `dir`; undefined where there is none (also where a part of the way is no directory). */
export function statAt(dir: number, name: string): Stat | undefined {
  const buffer = Buffer.alloc(256);
  const flags = AT_SYMLINK_NOFOLLOW | (name === "" ? AT_EMPTY_PATH : 0);
  if (c.statx(int(dir), nameBytes(name), flags, STATX_BASIC, buffer) === 0) return parseStatx(buffer);
  const code = errno();
  if (code === ENOENT || code === ENOTDIR) return undefined;
  throw new SysError("statx", code, shown(name));
}

/** Magic numbers (statfs(2), linux/magic.h) of file systems that hold no files but show the kernel's state. */
const kernelsOwn: ReadonlySet<number> = new Set([
  0x9fa0, // proc
  0x62656572, // sysfs
  0x27e0eb, // cgroup
  0x63677270, // cgroup2
  0x1cd1, // devpts
  0x19800202, // mqueue
  0x64626720, // debugfs
  0x74726163, // tracefs
  0x73636673, // securityfs
  0xcafe4a11, // bpf
  0x6165676c, // pstore
  0x42494e4d, // binfmt_misc
]);

/** Whether what `fd` refers to lies on proc, sysfs or another file system that the kernel makes up. */
export function isKernelsOwn(fd: number): boolean {
  const buffer = Buffer.alloc(256);
  check(c.fstatfs(int(fd), buffer), "fstatfs");
  return kernelsOwn.has(Number(buffer.readBigInt64LE(0)));
}

const ST_FLAGS = new Map([
  [1, "ro"],
  [2, "nosuid"],
  [4, "nodev"],
  [8, "noexec"],
  [1024, "noatime"],
  [2048, "nodiratime"],
]);

/** The words of mount(8) that the mount at `path` has beside the defaults. @throws SysError */
export function mountWords(path: string): string[] {
  const buffer = Buffer.alloc(256);
  check(c.statfs(cstr(path), buffer), "statfs", path);
  const flags = buffer.readUInt32LE(80);
  return [...ST_FLAGS].flatMap(([flag, word]) => ((flags & flag) === 0 ? [] : [word]));
}

export function readlinkAt(dir: number, name: string): string {
  const buffer = Buffer.alloc(4096);
  const length = check(c.readlinkat(int(dir), nameBytes(name), buffer, buffer.length), "readlinkat", shown(name));
  return buffer.toString("latin1", 0, length);
}

export interface DirectoryEntry {
  name: string;
  /** Told by the directory; where the file system doesn't tell, false. */
  isFile: boolean;
}

/** DT_REG of dirent.h. */
const REGULAR = 8;

/** What is in an open directory (not `.` and `..`), in the file system's order; nothing where it was removed meanwhile. Reads from the descriptor's position. */
export function* readEntries(fd: number): Generator<DirectoryEntry, void, undefined> {
  const buffer = Buffer.allocUnsafeSlow(32768);
  for (;;) {
    const length = Number(c.getdents64(int(fd), buffer, buffer.length));
    if (length === 0) return;
    if (length < 0) {
      const code = errno();
      if (code === ENOENT) return;
      throw new SysError("getdents64", code);
    }
    const entries: DirectoryEntry[] = [];
    for (let at = 0; at < length; at += buffer.readUInt16LE(at + 16)) {
      const end = buffer.indexOf(0, at + 19);
      const name = buffer.toString("latin1", at + 19, end);
      if (name !== "." && name !== "..") entries.push({ name, isFile: buffer[at + 18] === REGULAR });
    }
    yield* entries;
  }
}

/** The names of `readEntries`. */
export function* readDirectory(fd: number): Generator<string, void, undefined> {
  for (const { name } of readEntries(fd)) yield name;
}

/** A directory by its absolute path, open until it is disposed of. @throws SysError */
export function openDirectory(path: string): Disposable & { readonly fd: number } {
  const fd = openAt(AT_FDCWD, bytesOf(path), O.RDONLY | O.DIRECTORY);
  return { fd, [Symbol.dispose]: () => closeFd(fd) };
}

/** At most `most` of the names in a directory, however many it has. @throws SysError */
export function firstNames(path: string, most: number): string[] {
  using directory = openDirectory(path);
  return readDirectory(directory.fd).take(most).toArray();
}

/** @throws SysError */
export const isEmptyDirectory = (path: string): boolean => firstNames(path, 1).length === 0;

export function isDirectory(stat: Stat): boolean {
  return (stat.mode & S.IFMT) === S.IFDIR;
}

/** Overlay's mark for a removed name: a character device 0/0 (kernel: Documentation/filesystems/overlayfs.rst). */
export function isWhiteout(stat: Stat): boolean {
  return (stat.mode & S.IFMT) === S.IFCHR && stat.rdevMajor === 0 && stat.rdevMinor === 0;
}
