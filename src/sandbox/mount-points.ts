import { appendFileSync, chmodSync, existsSync, readFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { dirname } from "node:path";
import { SysError } from "../kernel/ffi.ts";
import { closeFd, O } from "../kernel/fs.ts";
import { bytesOf } from "../lib/tar.ts";
import type { MountSpec } from "../oci/runtime-spec.ts";
import { Root, type Owner } from "../snapshots/root.ts";

/** What the runtime mounts first: mount points below are made in that. */
const runtimesOwn = ["/proc", "/sys", "/dev"];

/**
 * Makes the places that are missing for `mounts` in the root mounted at `rootfs`, or in the directory that an earlier one of them mounts above. What can't be made
 * here (something else has the name, the place is read-only) is left to the runtime, which says why it can't either. A tmpfs without a mode gets that of the
 * directory that it hides, as runc gives it: what was /root isn't everybody's. `made` is the file that tells later runs which of those were made for it: runc
 * takes them for the image's, and the second run of a container has another mode than the first. Undefined: the runtime sees to places for a tmpfs.
 */
export async function makeMountPoints(rootfs: string, mounts: readonly MountSpec[], { owner, made: madePath }: { owner: Owner; made?: string }): Promise<void> {
  if (mounts.length === 0) return;
  using whole = new Root(rootfs);
  const hasTmpfs = mounts.some(({ type }) => type === "tmpfs");
  const made = hasTmpfs && madePath !== undefined && existsSync(madePath) ? readFileSync(madePath, "utf8").split("\0") : [];
  for (const [index, mount] of mounts.entries()) {
    const { destination } = mount;
    if (mount.type === "tmpfs" && madePath === undefined) continue;
    if (runtimesOwn.some((path) => isBelow(destination, path))) continue;
    const above = mountAbove(mounts, index);
    // a tmpfs is there only inside, and in what is read-only inside nothing is made outside
    if (above !== undefined && (above.type !== "bind" || above.options?.some((each) => each === "ro" || each === "rro") === true)) continue;
    try {
      using below = above === undefined ? undefined : new Root(above.source ?? "");
      const present = await makeMountPoint(below ?? whole, destination.slice(above?.destination.length), mount, owner);
      if (mount.type !== "tmpfs" || madePath === undefined) continue;
      if (present === undefined) appendFileSync(madePath, `${destination}\0`);
      else if (!made.includes(destination)) keepMode(mount, present);
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
    }
  }
}

/**
 * crun 1.8 makes directories that lead to a mount sticky. In a tmpfs, which is there only inside, they get Docker's mode when they are made, before the
 * container starts: `rootfs` is seen from its init. What is in a tmpfs then was all made for a mount.
 */
export function unstickPlaces(rootfs: string, mounts: readonly MountSpec[]): void {
  for (const [index, { destination }] of mounts.entries()) {
    const above = mountAbove(mounts, index);
    if (above?.type !== "tmpfs" || above.options?.includes("ro") === true) continue;
    using root = new Root(rootfs);
    for (let path = dirname(destination); path !== above.destination; path = dirname(path)) {
      using fds = new DisposableStack();
      const fd = root.open(bytesOf(path), O.PATH | O.DIRECTORY);
      if (fd !== undefined) chmodSync(`/proc/self/fd/${fds.adopt(fd, closeFd)}`, 0o755);
    }
  }
}

/** The nearest of the mounts before that `mounts[index]` lies in. */
function mountAbove(mounts: readonly MountSpec[], index: number): MountSpec | undefined {
  return mounts.slice(0, index).findLast((each) => isBelow(mounts[index]!.destination, each.destination));
}

/** The mode of what is there; undefined where it was made. */
async function makeMountPoint(root: Root, path: string, { type, source = "" }: MountSpec, owner: Owner): Promise<number | undefined> {
  const at = bytesOf(path);
  // mostly it is there: what is mounted needn't be looked at then
  const present = root.stat(at);
  if (present !== undefined) return present.mode;
  const isDirectory = type !== "bind" || (await stat(source)).isDirectory();
  closeFd(isDirectory ? root.directory(at, owner) : root.file(at, owner));
  return undefined;
}

function keepMode(mount: MountSpec, mode: number): void {
  if (mount.options?.some((option) => option.startsWith("mode=")) === true) return;
  mount.options = [...(mount.options ?? []), `mode=${(mode & 0o7777).toString(8)}`];
}

const isBelow = (path: string, directory: string): boolean => path.startsWith(`${directory}/`);
