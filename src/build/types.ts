import type { ProgressSink, RegistryAuth } from "../images/types.ts";

/** Parameters of `POST /build`, parsed. */
export interface BuildOptions {
  /** The context as a tar stream (plain, gzip, bzip2 or xz told by its first bytes) or undefined with `remote`. */
  context?: ReadableStream<Uint8Array>;
  dockerfile: string;
  tags: string[];
  remote?: string;
  quiet: boolean;
  noCache: boolean;
  cacheFrom: string[];
  pull: boolean;
  rm: boolean;
  forceRm: boolean;
  buildArgs: Record<string, string | null>;
  labels: Record<string, string>;
  target?: string;
  platform?: string;
  networkMode?: string;
  extraHosts: string[];
  squash: boolean;
  memory?: number;
  memswap?: number;
  cpuShares?: number;
  cpuSetCpus?: string;
  cpuPeriod?: number;
  cpuQuota?: number;
  shmSize?: number;
  ulimits?: { Name: string; Soft: number; Hard: number }[];
  auth: Record<string, RegistryAuth>;
  signal: AbortSignal;
  onProgress: ProgressSink;
}

/** Under Docker's names (BuildCache of `/system/df`); times are unix milliseconds, sizes bytes. */
export interface CacheRecord {
  /** 64 hex digits. */
  id: string;
  parents: string[];
  type: "regular";
  description: string;
  /** A container, or a build under way, stands on it. */
  inUse: boolean;
  /** Its bytes are an image's too. */
  shared: boolean;
  size: number;
  createdAt: number;
  lastUsedAt: number;
  usageCount: number;
}

/** Bytes; 0: no such bound. Without any, everything goes. */
export interface CacheBounds {
  /** Never less than this is kept. */
  reservedSpace: number;
  maxUsedSpace: number;
  /** Of the data root's file system. */
  minFreeSpace: number;
}

export interface CachePruneOptions extends CacheBounds {
  /** Shared ones too. */
  all: boolean;
  /** Unix milliseconds: only what wasn't used since. */
  usedBefore?: number | undefined;
  /** id, parent, type, description, inuse, shared, private, label, label!. */
  filters: Readonly<Record<string, readonly string[]>>;
}

/** One rule of automatic collection. */
export interface CacheRule extends CacheBounds {
  all: boolean;
  /** Milliseconds without use before it applies. */
  unusedFor: number;
  filters: Readonly<Record<string, readonly string[]>>;
}

export interface Builder {
  /** Builds since the engine's start. */
  readonly counts: { readonly triggered: number; readonly failed: number };
  /** Classic builder. Resolves with the image's id. Texts of its progress are matched by clients. @throws EngineError; `exitCode` of a failed RUN in errorDetail.code */
  build(options: BuildOptions): Promise<string>;
  /** The steps that later builds may take over. */
  cache(): Promise<CacheRecord[]>;
  pruneCache(options: CachePruneOptions): Promise<{ deleted: string[]; spaceReclaimed: number }>;
  /** Prunes by each of the rules, in order, without an event where nothing goes. */
  collectCache(rules: readonly CacheRule[]): Promise<{ deleted: string[]; spaceReclaimed: number }>;
  /** At start: mounts and files of builds that the engine's death interrupted. */
  restore(): Promise<void>;
}
