import { chmodSync, mkdirSync, statfsSync } from "node:fs";
import type { Paths } from "../daemon/paths.ts";
import { mount, MS, unmount } from "../kernel/mount.ts";
import type { Logger } from "../lib/log.ts";

const TMPFS_MAGIC = 0x01021994;

/**
 * Bundles, the runtime's state and exit codes: a dozen small files a container, of no use after a reboot. Where the run root lies on a disk (a
 * container without a tmpfs on /run, a root given by hand) each is put on a tmpfs: a start took 33 instead of 47 ms beside other writers, 13 or
 * 14 ms on an idle disk. `runtimeRoot` and `exits` never go before `bundles`, which the kernel keeps busy as long as a container lives.
 */
export function mountRunDirectories(paths: Paths, log: Logger): void {
  for (const [directory, mode] of directories(paths)) {
    mkdirSync(directory, { recursive: true, mode: Number.parseInt(mode, 8) });
    try {
      chmodSync(directory, Number.parseInt(mode, 8));
      if (statfsSync(directory).type !== TMPFS_MAGIC) mount("tmpfs", directory, "tmpfs", MS.NOSUID | MS.NODEV | MS.NOEXEC, `mode=${mode}`);
    } catch (error) {
      log.warn("run files stay on disk", { directory, error });
      return;
    }
  }
}

/** Undoes it, unless a container lives. A run root that was a tmpfs anyway is left as it is. */
export function unmountRunDirectories(paths: Paths): void {
  try {
    for (const [directory] of directories(paths)) unmount(directory);
  } catch (error) {
    if ((error as { code?: string }).code !== "EBUSY") throw error;
  }
}

const directories = (paths: Paths): [directory: string, mode: string][] => [
  // whose containers have a user namespace: their roots on the host pass through
  [paths.bundles, "711"],
  [paths.runtimeRoot, "700"],
  [paths.exits, "700"],
];
