import { stat } from "node:fs/promises";
import { SysError } from "../kernel/ffi.ts";
import { closeFd, O } from "../kernel/fs.ts";
import { bytesOf } from "../lib/tar.ts";
import type { MountSpec } from "../oci/runtime-spec.ts";
import { Root, type Owner } from "../snapshots/root.ts";

/** What the runtime mounts first: mount points below are made in that. */
const runtimesOwn = ["/proc", "/sys", "/dev"];

/**
 * Makes the places that are missing for `mounts` in the root mounted at `rootfs`, or in the directory that an earlier one of them mounts above. What can't be made
 * here (something else has the name, the place is read-only) is left to the runtime, which says why it can't either.
 */
export async function makeMountPoints(rootfs: string, mounts: readonly MountSpec[], owner: Owner): Promise<void> {
  if (mounts.length === 0) return;
  using whole = new Root(rootfs);
  for (const [index, mount] of mounts.entries()) {
    const { destination } = mount;
    if (runtimesOwn.some((path) => isBelow(destination, path))) continue;
    const above = mounts.slice(0, index).findLast((each) => isBelow(destination, each.destination));
    // a tmpfs is there only inside, and in what is read-only inside nothing is made outside
    if (above !== undefined && (above.type !== "bind" || above.options?.some((each) => each === "ro" || each === "rro") === true)) continue;
    try {
      using below = above === undefined ? undefined : new Root(above.source ?? "");
      await makeMountPoint(below ?? whole, destination.slice(above?.destination.length), mount, owner);
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
    }
  }
}

async function makeMountPoint(root: Root, path: string, { type, source = "" }: MountSpec, owner: Owner): Promise<void> {
  const at = bytesOf(path);
  // mostly it is there: what is mounted needn't be looked at then
  const present = root.open(at, O.PATH);
  if (present !== undefined) return closeFd(present);
  const isDirectory = type !== "bind" || (await stat(source)).isDirectory();
  closeFd(isDirectory ? root.directory(at, owner) : root.file(at, owner));
}

const isBelow = (path: string, directory: string): boolean => path.startsWith(`${directory}/`);
