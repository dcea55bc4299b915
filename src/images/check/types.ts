import type { RegistryAuth } from "../types.ts";

/** What one look over everything that is stored found and did. */
export interface CheckReport {
  /** What was looked at; bytes of blobs. */
  checked: { blobs: number; bytes: number; layers: number; images: number; containers: number };
  problems: CheckProblem[];
}

export interface CheckProblem {
  kind: "blob" | "layer" | "image" | "container" | "file";
  /** Digest, layer's id, image's id, container's id, or path below the data root. */
  id: string;
  /** Names, or short ids, of the images that are concerned. */
  images: string[];
  /** One sentence: what is wrong. */
  problem: string;
  /** What was done about it. */
  repaired?: string;
  /** What somebody should do now; nothing where all is well again. */
  next?: string;
}

export interface CheckOptions {
  /** Puts back, or else removes, what is broken. */
  repair: boolean;
  /** Only whether everything is there: no bytes are read. */
  quick: boolean;
  /** `unit`: what is counted, for people. */
  onProgress(stage: string, current: number, total: number): void;
  onProblem(problem: CheckProblem): void;
  signal?: AbortSignal | undefined;
  /** The caller's credentials by registry: what is broken may lie in a private one. */
  auths?: Readonly<Record<string, RegistryAuth>>;
}
