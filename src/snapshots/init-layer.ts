import { chmodSync, chownSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDirectory } from "../kernel/fs.ts";
import type { MergedView } from "./merged.ts";
import type { SnapshotId, Snapshots } from "./types.ts";

export interface DirectoryAttributes {
  mode: number;
  uid: number;
  gid: number;
}

export const plainDirectory: DirectoryAttributes = { mode: 0o755, uid: 0, gid: 0 };

/** Mount points and files that every container needs, as Docker's init layer has them (moby: daemon/initlayer/setup_unix.go). Parents first. */
const directories = ["etc", "dev", "dev/pts", "dev/shm", "proc", "sys"] as const;
const files = [".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/console"] as const;

/** Attributes of the directories that the init layer must repeat, since the top layer's count in an overlay. */
export interface InitLayerShape {
  root: DirectoryAttributes;
  directories: DirectoryAttributes[];
}

export function initLayerShape(root: DirectoryAttributes, layers: MergedView): InitLayerShape {
  return {
    root,
    directories: directories.map((path) => {
      const found = layers.lookup(path.split("/"));
      if (found === undefined || !isDirectory(found.stat)) return plainDirectory;
      const { mode, uid, gid } = found.stat;
      return { mode: mode & 0o7777, uid, gid };
    }),
  };
}

/** What a container's root is mounted from: the init layer on top, unless it is among the layers already. */
export async function withInitLayer(snapshots: Pick<Snapshots, "initLayer">, layers: readonly SnapshotId[]): Promise<readonly SnapshotId[]> {
  const init = await snapshots.initLayer(layers);
  return layers.includes(init) ? layers : [...layers, init];
}

/** Fills the empty directory `path`. A dozen small files: synchronous, below a millisecond. */
export function makeInitLayer(path: string, shape: InitLayerShape): void {
  for (const directory of directories) mkdirSync(join(path, directory));
  for (const file of files) writeFileSync(join(path, file), "", { mode: 0o755 });
  for (const file of files) chmodSync(join(path, file), 0o755);
  symlinkSync("/proc/mounts", join(path, "etc/mtab"));
  applyAttributes(path, shape.root);
  for (const [i, directory] of directories.entries()) applyAttributes(join(path, directory), shape.directories[i]!);
}

/** Owner first: chown clears setuid and setgid. */
export function applyAttributes(path: string, { mode, uid, gid }: DirectoryAttributes): void {
  if (uid !== 0 || gid !== 0) chownSync(path, uid, gid);
  chmodSync(path, mode);
}
