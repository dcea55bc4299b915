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

export interface Builder {
  /** Builds since the engine's start. */
  readonly counts: { readonly triggered: number; readonly failed: number };
  /** Classic builder. Resolves with the image's id. Texts of its progress are matched by clients. @throws EngineError; `exitCode` of a failed RUN in errorDetail.code */
  build(options: BuildOptions): Promise<string>;
  pruneCache(): Promise<{ deleted: string[]; spaceReclaimed: number }>;
  /** At start: mounts and files of builds that the engine's death interrupted. */
  restore(): Promise<void>;
}
