import { hostname } from "node:os";
import { isDeepStrictEqual } from "node:util";
import type { DaemonOptions } from "./options.ts";

/** What SIGHUP changes: dockerd's list, and the log's level and format besides. */
const live = [
  "debug",
  "logLevel",
  "logFormat",
  "labels",
  "insecureRegistries",
  "registryMirrors",
  "mirrors",
  "maxConcurrentDownloads",
  "maxConcurrentUploads",
  "maxDownloadAttempts",
  "maxLayerSize",
  "maxLayerEntries",
  "imageGcHigh",
  "imageGcLow",
  "imageGcMinAge",
  "imageGcKeep",
  "buildCacheRules",
  "runtimes",
  "defaultRuntime",
  "liveRestore",
  "shutdownTimeout",
  "stopTimeout",
  "shmSize",
  "ipcMode",
  "cgroupnsMode",
  "features",
] as const satisfies readonly (keyof DaemonOptions)[];

/** Changes `options` in place: services read them when they need them. Returns the settings that differ and wait for a restart, under dockerd's names. */
export function applyReload(options: DaemonOptions, next: DaemonOptions): string[] {
  const isLive = (key: string): boolean => (live as readonly string[]).includes(key);
  Object.assign(options, Object.fromEntries(live.map((key) => [key, next[key]])));
  return (Object.keys(next) as (keyof DaemonOptions)[])
    .filter((key) => !isLive(key) && !isDeepStrictEqual(options[key], next[key]))
    .map((key) => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`));
}

/** Attributes of the `reload` event, in dockerd's forms: lists as JSON, maps as Go prints them. */
export function reloadAttributes(
  options: DaemonOptions,
  { defaultRuntime, cgroupnsMode }: { defaultRuntime: string; cgroupnsMode: string },
): Record<string, string> {
  const features = Object.entries(options.features).sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    name: hostname(),
    debug: String(options.debug),
    labels: JSON.stringify(options.labels),
    "insecure-registries": JSON.stringify(options.insecureRegistries),
    "registry-mirrors": JSON.stringify(options.registryMirrors),
    "max-concurrent-downloads": String(options.maxConcurrentDownloads),
    "max-concurrent-uploads": String(options.maxConcurrentUploads),
    "max-download-attempts": String(options.maxDownloadAttempts),
    runtimes: Object.entries(options.runtimes)
      .map(([name, { path }]) => `${name}:${path}`)
      .join(" "),
    "default-runtime": defaultRuntime,
    "default-shm-size": String(options.shmSize),
    "default-ipc-mode": options.ipcMode,
    "default-cgroupns-mode": cgroupnsMode,
    "default-stop-timeout": String(options.stopTimeout),
    "live-restore": String(options.liveRestore),
    "shutdown-timeout": String(options.shutdownTimeout),
    features: `map[${features.map(([name, on]) => `${name}:${on}`).join(" ")}]`,
  };
}
