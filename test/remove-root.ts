import { existsSync, rmSync } from "node:fs";

/**
 * Removes what a test worked in. Again where something is left: with `force`, Bun's `rm` (1.4.5) takes a file that vanishes meanwhile for the end of its work,
 * and a content store deletes the files of removed blobs in the background.
 */
export function removeRoot(path: string): void {
  do rmSync(path, { recursive: true, force: true });
  while (existsSync(path));
}
