import { FFIType } from "bun:ffi";
import { invalidArgument } from "../lib/errors.ts";
import { check, errno, int, libc, SysError } from "./ffi.ts";
import { openDirectory } from "./fs.ts";

/**
 * Project quotas: a limit for a directory tree, whose files all carry one number. The tree's top has a flag that hands the number on to what is made in
 * it. Kernel: Documentation/filesystems/ext4/attributes.rst, quotactl(2), ioctl_fsgetxattr(2).
 */
const c = libc({
  ioctl: { args: [FFIType.i32, FFIType.u64_fast, FFIType.ptr], returns: FFIType.i32 },
  syscall: { args: [FFIType.i64_fast, FFIType.i64_fast, FFIType.i64_fast, FFIType.i64_fast, FFIType.ptr], returns: FFIType.i64_fast },
});

const FS_IOC_FSGETXATTR = 0x801c581f;
const FS_IOC_FSSETXATTR = 0x401c5820;
const FS_XFLAG_PROJINHERIT = 0x200;
/** Linux 5.14: by a descriptor, where quotactl(2) wants the block device. */
const SYS_QUOTACTL_FD = 443;
const PRJQUOTA = 2;
const command = (number: number): number => ((("X".charCodeAt(0) << 8) + number) << 8) | PRJQUOTA;
const Q_XGETQUOTA = command(3);
const Q_XSETQLIM = command(4);
const Q_XGETQSTAT = command(5);
const FS_QUOTA_PDQ_ENFD = 1 << 5;
const FS_DQUOT_VERSION = 1;
const FS_PROJ_QUOTA = 2;
const FS_DQ_BSOFT = 1 << 2;
const FS_DQ_BHARD = 1 << 3;
const BLOCK = 512;
const ENOENT = 2;

function quotactl(fd: number, operation: number, project: number, data: Buffer): void {
  check(c.syscall(SYS_QUOTACTL_FD, int(fd), operation, project, data), "quotactl_fd");
}

/** Whether the file system of `directory` keeps project quotas. @throws SysError, e.g. ENOSYS before Linux 5.14 */
export function checkProjectQuota(directory: string): void {
  const status = Buffer.alloc(256);
  using opened = openDirectory(directory);
  quotactl(opened.fd, Q_XGETQSTAT, 0, status);
  if ((status.readUInt16LE(2) & FS_QUOTA_PDQ_ENFD) === 0) throw new SysError("quotactl_fd", 3, `${directory}: project quotas are not enforced`);
}

/** Nothing is limited or counted under the number. */
function isProjectFree(directory: string, project: number): boolean {
  using opened = openDirectory(directory);
  const quota = Buffer.alloc(112);
  if (Number(c.syscall(SYS_QUOTACTL_FD, int(opened.fd), Q_XGETQUOTA, project, quota)) < 0) {
    const code = errno();
    if (code === ENOENT) return true;
    throw new SysError("quotactl_fd", code);
  }
  const [hard, soft, used] = [8, 16, 40].map((at) => quota.readBigUInt64LE(at));
  return hard === 0n && soft === 0n && used === 0n;
}

/** At most so many bytes (0: any number) for all files of the project. */
function limitProject(directory: string, project: number, bytes: number): void {
  const quota = Buffer.alloc(112);
  quota.writeInt8(FS_DQUOT_VERSION, 0);
  quota.writeInt8(FS_PROJ_QUOTA, 1);
  quota.writeUInt16LE(FS_DQ_BHARD | FS_DQ_BSOFT, 2);
  quota.writeUInt32LE(project, 4);
  const blocks = BigInt(Math.ceil(bytes / BLOCK));
  quota.writeBigUInt64LE(blocks, 8);
  quota.writeBigUInt64LE(blocks, 16);
  using opened = openDirectory(directory);
  quotactl(opened.fd, Q_XSETQLIM, project, quota);
}

/** The directory's project; 0 is none. */
function projectOf(directory: string): number {
  const attributes = Buffer.alloc(28);
  using opened = openDirectory(directory);
  check(c.ioctl(int(opened.fd), FS_IOC_FSGETXATTR, attributes), "ioctl FSGETXATTR", directory);
  return attributes.readUInt32LE(12);
}

/** The directory, and all that is made in it from now on, belongs to the project. */
function setProject(directory: string, project: number): void {
  const attributes = Buffer.alloc(28);
  using opened = openDirectory(directory);
  check(c.ioctl(int(opened.fd), FS_IOC_FSGETXATTR, attributes), "ioctl FSGETXATTR", directory);
  attributes.writeUInt32LE(attributes.readUInt32LE(0) | FS_XFLAG_PROJINHERIT, 0);
  attributes.writeUInt32LE(project, 12);
  check(c.ioctl(int(opened.fd), FS_IOC_FSSETXATTR, attributes), "ioctl FSSETXATTR", directory);
}

/** Project numbers that people give by hand are small. */
const LOWEST = 0x10000;
const HIGHEST = 0x7fffffff;
const MOST_TRIES = 64;

/**
 * At most so many bytes for all that will be made in the directories, which lie on one file system. They get a project number that nothing else has.
 * @throws EngineError invalidArgument where none is free; SysError
 */
export function limitDirectories(directories: readonly string[], bytes: number): void {
  const [first = ""] = directories;
  for (let i = 0; i < MOST_TRIES; i++) {
    const project = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST));
    if (!isProjectFree(first, project)) continue;
    for (const directory of directories) setProject(directory, project);
    return limitProject(first, project, bytes);
  }
  throw invalidArgument("no free project number was found for a storage limit");
}

/** Takes `limitDirectories` back, with which the number is free again. @throws SysError */
export function unlimitDirectory(directory: string): void {
  const project = projectOf(directory);
  if (project >= LOWEST) limitProject(directory, project, 0);
}

export const isLimited = (directory: string): boolean => projectOf(directory) >= LOWEST;
