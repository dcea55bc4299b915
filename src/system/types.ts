import type { CacheRecord } from "../build/types.ts";
import type { ContainerRecord } from "../containers/types.ts";
import type { CheckOptions, CheckReport } from "../images/check/types.ts";
import type { Exposition } from "../lib/metrics.ts";
import type { ListedImage } from "../images/types.ts";
import type { VolumeRecord } from "../volumes/types.ts";

/** What `GET /info` and `GET /version` say, under Docker's names. */
export type SystemInfo = Record<string, unknown>;

export interface VersionInfo {
  Platform: { Name: string };
  Version: string;
  ApiVersion: string;
  MinAPIVersion: string;
  GitCommit: string;
  GoVersion: string;
  Os: string;
  Arch: string;
  KernelVersion: string;
  BuildTime: string;
  Components: { Name: string; Version: string; Details?: Record<string, string> }[];
}

/** Of the engine's own requests, as given; with their passwords. */
export interface Proxies {
  http: string;
  https: string;
  /** Hosts and networks reached without one. */
  no: string;
}

export interface System {
  /** The engine's, for as long as its data root lives. */
  readonly id: string;
  /** Seconds that containers without a StopTimeout have when all are stopped; -1: no limit. */
  readonly stopTimeout: number;
  info(): Promise<SystemInfo>;
  version(): Promise<VersionInfo>;
  readonly debug: boolean;
  /** What the engine is doing, for debugging. */
  debugState(): Promise<Record<string, unknown>>;
  /** Figures of the engine and of all it has, read now. */
  writeMetrics(out: Exposition): Promise<void>;
  /** Looks at everything that is stored, and mends it where asked. @throws EngineError conflict where a check is under way, cancelled */
  check(options: CheckOptions): Promise<CheckReport>;
  diskUsage(kinds: ReadonlySet<DiskUsageKind>): Promise<DiskUsage>;
}

export type DiskUsageKind = "container" | "image" | "volume" | "build-cache";

/** Bytes. Kinds that weren't asked for are missing. */
export interface DiskUsage {
  images?: { items: { record: ListedImage; containers: number; sharedSize: number }[]; layersSize: number; reclaimable: number; blobsSize: number };
  containers?: { record: ContainerRecord; rw: number; rootFs: number; active: boolean }[];
  buildCache?: CacheRecord[];
  /** Without a size: it can't be told. */
  volumes?: { record: VolumeRecord; size?: number; users: number }[];
}
