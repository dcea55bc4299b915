import { stat } from "node:fs/promises";
import { SysError } from "../kernel/ffi.ts";
import { closeFd } from "../kernel/fs.ts";
import { bytesOf } from "../lib/tar.ts";
import type { MountSpec } from "../oci/runtime-spec.ts";
import { openMountPoint } from "../snapshots/mount-point.ts";
import { Root, type Owner } from "../snapshots/root.ts";

/** What the runtime mounts first: mount points below are made in that. */
const runtimesOwn = ["/proc", "/sys", "/dev"];

/**
 * Makes the places that are missing for `mounts` in the root mounted at `rootfs`, or in the directory that an earlier one of them mounts above. What can't be made
 * here (something else has the name, the place is read-only) is left to the runtime, which says why it can't either.
 */
export async function makeMountPoints(rootfs: string, mounts: readonly MountSpec[], owner: Owner): Promise<void> {
  for (const [index, { type, source = "", destination }] of mounts.entries()) {
    if (runtimesOwn.some((path) => isBelow(destination, path))) continue;
    const above = mounts.slice(0, index).findLast((each) => isBelow(destination, each.destination));
    // a tmpfs is there only inside, and in what is read-only inside nothing is made outside
    if (above !== undefined && (above.type !== "bind" || above.options?.some((each) => each === "ro" || each === "rro") === true)) continue;
    try {
      using root = new Root(above?.source ?? rootfs);
      const path = above === undefined ? destination : destination.slice(above.destination.length);
      closeFd(openMountPoint(root, bytesOf(path), type !== "bind" || (await stat(source)).isDirectory(), owner));
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
    }
  }
}

const isBelow = (path: string, directory: string): boolean => path.startsWith(`${directory}/`);
