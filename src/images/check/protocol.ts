/** What check/reader.ts asks of its Worker; paths are absolute. One job at a time. */
export type CheckJob =
  /** The digest of a file. */
  | { op: "digest"; path: string; algorithm: "sha256" | "sha512" }
  /** How a tree differs from the layer's tar, which may be compressed. */
  | { op: "compare"; path: string; tree: string }
  /** The same where the layer has a recipe instead, and the digest of the tar that this and the tree give. */
  | { op: "remake"; recipe: string; tree: string }
  /** The digest of the tar that a tree gives. */
  | { op: "pack"; tree: string; listRoot: boolean };

export interface CheckResults {
  digest: string;
  /** Sentences without their full stop; a few. */
  compare: string[];
  remake: { digest: string; differences: string[] };
  pack: string;
}

export type CheckRequest = { type: "start"; job: CheckJob } | { type: "cancel" };

export type CheckResponse = { type: "done"; result: unknown } | { type: "failed"; message: string; cancelled: boolean };
