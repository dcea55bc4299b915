import { chownSync, lstatSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf, unavailable } from "../lib/errors.ts";
import { rootOnHost, type IdMap } from "../oci/id-map.ts";
import type { SnapshotContext } from "./context.ts";
import type { SnapshotId, Snapshots } from "./types.ts";

/** A snapshot that no row names; an id is never of this form. */
const PROBE = ".probe" as SnapshotId;

/** Whether containers can have their own ids here, found out by trying. See Snapshots.checkIdMap. */
export async function checkIdMap(ctx: SnapshotContext, mounts: Pick<Snapshots, "mount" | "unmount">, idMap: IdMap): Promise<void> {
  const target = join(ctx.root, ".probe-view");
  const trees = [ctx.path(PROBE), ctx.work(PROBE), target];
  const remove = (): void => {
    for (const tree of trees) rmSync(tree, { recursive: true, force: true });
  };
  await mounts.unmount(target, { lazy: true });
  remove();
  try {
    for (const tree of trees) mkdirSync(tree, { mode: 0o700 });
    await mounts.mount({ target, layers: [], upper: PROBE, volatile: true, idMap });
    try {
      const { uid, gid } = rootOnHost(idMap);
      writeFileSync(join(target, "file"), "");
      chownSync(join(target, "file"), uid, gid);
    } finally {
      await mounts.unmount(target, { lazy: true });
    }
    const stored = lstatSync(join(ctx.path(PROBE), "file"));
    if (stored.uid !== 0 || stored.gid !== 0) throw new Error(`a file of the container's root belongs to ${stored.uid}:${stored.gid} on disk`);
  } catch (error) {
    throw unavailable(
      `user namespaces need idmapped mounts under overlayfs (Linux 5.19 or later; ext4, xfs, btrfs, or tmpfs from 6.3 on), and ${ctx.root} can't be mounted so: ${messageOf(error)}`,
      error,
    );
  } finally {
    remove();
  }
}
