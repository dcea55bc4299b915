import { appendFileSync, chmodSync, existsSync, readFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { SysError } from "../kernel/ffi.ts";
import { closeFd, O } from "../kernel/fs.ts";
import { bytesOf } from "../lib/tar.ts";
import { createPause } from "../lib/turns.ts";
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
  const isMade = new Set(made);
  const before = new Map<string, MountSpec>();
  const pause = createPause();
  for (const mount of mounts) {
    await pause();
    const { destination } = mount;
    const above = mountAbove(before, destination);
    before.set(destination, mount);
    if (mount.type === "tmpfs" && madePath === undefined) continue;
    if (runtimesOwn.some((path) => isBelow(destination, path))) continue;
    // a tmpfs is there only inside, and in what is read-only inside nothing is made outside
    if (above !== undefined && (above.type !== "bind" || above.options?.some((each) => each === "ro" || each === "rro") === true)) continue;
    try {
      using below = above === undefined ? undefined : new Root(above.source ?? "");
      const present = await makeMountPoint(below ?? whole, destination.slice(above?.destination.length), mount, owner);
      if (mount.type !== "tmpfs" || madePath === undefined) continue;
      if (present === undefined) appendFileSync(madePath, `${destination}\0`);
      else if (!isMade.has(destination)) keepMode(mount, present);
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
    }
  }
}

/**
 * crun 1.8 makes directories that lead to a mount sticky. In a tmpfs, which is there only inside, they get Docker's mode when they are made, before the
 * container starts: `rootfs` is seen from its init. What is in a tmpfs then was all made for a mount.
 */
export async function unstickPlaces(rootfs: string, mounts: readonly MountSpec[]): Promise<void> {
  const places = placesInTmpfs(mounts);
  if (places.size === 0) return;
  const pause = createPause();
  // held over the pauses: the container may end meanwhile, and its pid become another's
  using root = new Root(rootfs);
  for (const place of places) {
    await pause();
    using fds = new DisposableStack();
    const fd = root.open(bytesOf(place), O.PATH | O.DIRECTORY);
    if (fd !== undefined) chmodSync(`/proc/self/fd/${fds.adopt(fd, closeFd)}`, 0o755);
  }
}

/** The directories between a tmpfs that can be written to and what is mounted in it. */
function placesInTmpfs(mounts: readonly MountSpec[]): Set<string> {
  const places = new Set<string>();
  const before = new Map<string, MountSpec>();
  for (const mount of mounts) {
    const above = mountAbove(before, mount.destination);
    before.set(mount.destination, mount);
    if (above?.type !== "tmpfs" || above.options?.includes("ro") === true) continue;
    for (const path of parentsOf(mount.destination)) if (path.length > above.destination.length) places.add(path);
  }
  return places;
}

/** The nearest of the mounts `before` that `path` lies in. */
function mountAbove(before: ReadonlyMap<string, MountSpec>, path: string): MountSpec | undefined {
  for (const parent of parentsOf(path)) {
    const found = before.get(parent);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The directories that lead to `path`, nearest first, as it spells them (`--tmpfs /t//x`); without the root. */
function* parentsOf(path: string): Generator<string, void> {
  for (let end = path.lastIndexOf("/"); end > 0; end = path.lastIndexOf("/", end - 1)) if (path[end - 1] !== "/") yield path.slice(0, end);
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
