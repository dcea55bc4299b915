import type { ErrorKind } from "../lib/errors.ts";
import type { CopySource, SelectOptions } from "./checksum.ts";
import type { CopyOptions } from "./copy.ts";

/** Work on files that would hold up the main thread. Paths of roots are absolute. */
export type FilesRequest =
  | { op: "context"; directory: string; dockerfile: string }
  | { op: "select"; root: string; words: string[]; options: SelectOptions }
  | { op: "copy"; root: string; sources: CopySource[]; target: string; options: CopyOptions }
  | { op: "mkdir"; target: string; path: string };

export interface FilesResults {
  context: string;
  select: CopySource[];
  copy: undefined;
  mkdir: undefined;
}

/** `chunk` answers `pull`: the context's next bytes, undefined at its end. */
export type ToWorker = { id: number; request: FilesRequest } | { id: number; chunk: Uint8Array | undefined } | { id: number; failed: string };

export type FromWorker = { id: number; pull: true } | { id: number; result: unknown } | { id: number; error: { kind: ErrorKind; message: string } };
