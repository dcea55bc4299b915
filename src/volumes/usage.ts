import type { Dirent } from "node:fs";
import { lstat, readdir } from "node:fs/promises";

/** Entries that are looked at before the event loop has its turn. */
const batch = 64;

/** Bytes of the files below `path`, each hard-linked file once. What vanishes meanwhile counts nothing. */
export async function treeSize(path: string): Promise<number> {
  const seen = new Set<string>();
  const folders = [path];
  let total = 0;
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    const here = folder;
    const entries = await readdir(here, { withFileTypes: true }).catch(() => [] as Dirent[]);
    for (let at = 0; at < entries.length; at += batch) {
      const stats = await Promise.all(entries.slice(at, at + batch).map((entry) => lstat(`${here}/${entry.name}`).catch(() => undefined)));
      for (const [index, stat] of stats.entries()) {
        if (stat === undefined) continue;
        if (stat.isDirectory()) folders.push(`${here}/${entries[at + index]?.name}`);
        if (!stat.isFile()) continue;
        const key = `${stat.dev}:${stat.ino}`;
        if (stat.nlink > 1 && seen.has(key)) continue;
        if (stat.nlink > 1) seen.add(key);
        total += stat.size;
      }
    }
  }
  return total;
}
