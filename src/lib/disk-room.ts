import { statfsSync } from "node:fs";

/** Whether the file system of `path` has more left than this. */
export function hasRoom(path: string, more: { bytes: number; files: number }): boolean {
  const { bavail, bsize, files, ffree } = statfsSync(path);
  // btrfs counts no files
  return bavail * bsize > more.bytes && (files === 0 || ffree > more.files);
}
