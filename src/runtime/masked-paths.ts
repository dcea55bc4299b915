import { existsSync, readdirSync } from "node:fs";
import { defaultMaskedPaths } from "../oci/default-paths.ts";

/**
 * What Docker hides from containers on this host. Besides the fixed list these are the processors' counters of throttling, which tell of the host's
 * and other containers' load (moby: GHSA-6fw5-f8r9-fgfm). `processors` is where the kernel shows them.
 */
export function maskedPathsOfHost(processors = "/sys/devices/system/cpu"): string[] {
  let names: string[];
  try {
    names = readdirSync(processors);
  } catch {
    names = []; // a host without sysfs shows nothing to hide
  }
  const counters = names.filter((name) => /^cpu\d+$/.test(name)).map((name) => `${processors}/${name}/thermal_throttle`);
  return [...defaultMaskedPaths, ...counters.filter((path) => existsSync(path)).sort()];
}
