import type { ErrorKind } from "../lib/errors.ts";
import type { LentInput, LentOutput } from "../lib/lent.ts";
import type { IdMap } from "../oci/id-map.ts";
import type { PathStat } from "./path.ts";
import type { LayerLimits } from "./types.ts";
import type { Owner } from "./root.ts";

/** What snapshots.ts asks of its Workers. All paths are absolute. */
export type Job =
  | {
      op: "unpack";
      /** A directory that isn't there yet. */
      target: string;
      /** Where that directory is made first: a name in a folder whose directories lie far from each other (kernel/spread.ts). */
      apart: string;
      /** A file, or undefined where the bytes come as `chunk` messages. */
      source?: string;
      /** Bytes that the file will have, where it still grows: asked for by `more`, told by `grown`. */
      size?: number;
      /** Of the source, where it is known: of a plain tar it is the diff id. */
      digest?: string;
      /** Hash the source too. */
      hash?: "sha256" | "sha512";
      /** A file to write the recipe to, from which and the tree the tar can be made again. */
      recipe?: string;
      /** Trees under the layer, lowest first; undefined where they aren't ready: then a layer that leans on them fails with code `leans`. */
      parents?: string[];
      limits?: LayerLimits;
    }
  /**
   * Tar of a tree: hashed, and sent as `chunk` replies where `emit`. `sync` writes the tree to the disk first. Made by the recipe that it was unpacked
   * with, if there is such a file.
   */
  | { op: "pack"; tree: string; listRoot: boolean; emit: boolean; sync: boolean; recipe?: string }
  /** What stands at a path within `root`, which is hostile and may change meanwhile. */
  | { op: "stat"; root: string; path: string }
  /** The directory that a path within `root` leads to, without symlinks. */
  | { op: "resolve"; root: string; path: string }
  /** Tar of what stands at a path within `root`, sent as `chunk` replies. */
  | { op: "copyOut"; root: string; path: string; idMap?: IdMap }
  /** Unpacks the archive that comes as `chunk` messages into the directory at a path within `root`. */
  | { op: "copyIn"; root: string; path: string; owner?: Owner; idMap?: IdMap; keepKinds: boolean; whole?: boolean }
  /** Tar of a tree, sent as `chunk` replies. `whole`: its root first, and nothing is lost. */
  | { op: "treeTar"; tree: string; whole: boolean; idMap?: IdMap }
  /** Copies a tree into an empty directory, which shares its blocks where the file system can. */
  | { op: "clone"; from: string; to: string }
  /** Sent as `chunk` replies, each the JSON of `BATCH` changes at most. */
  | { op: "changes"; tree: string; parents: string[] }
  | { op: "size"; tree: string }
  /** Unless it is awaited itself, it waits while others are, for a while: whoever copies files waits for them, nobody for this. */
  | { op: "remove"; directory: string; name: string; isAwaited?: true }
  /** Moves what is there of `names` under `root` into `trash`, one after another, under new names that end in `.mark`. */
  | { op: "setAside"; root: string; trash: string; names: readonly string[]; mark: number }
  | { op: "unmount"; target: string; lazy: boolean; file: boolean };

export interface Results {
  /** `blob`: digest of the source, if it was to be hashed. Nothing is synced. */
  unpack: { diffId: string; tarSize: number; size: number; leans: boolean; listsRoot: boolean; exact: boolean; blob?: string };
  pack: { diffId: string; tarSize: number; size: number };
  stat: PathStat;
  resolve: string;
  copyOut: undefined;
  /** Of bytes that were lent: whether all were read, and what came after them. */
  copyIn: { isWhole: boolean; rest: Uint8Array } | undefined;
  clone: undefined;
  treeTar: undefined;
  changes: undefined;
  size: number;
  remove: undefined;
  /** The new names, in order; undefined for what wasn't there. */
  setAside: (string | undefined)[];
  unmount: undefined;
}

export type Request =
  /**
   * `lent`: bytes for a copyIn come from there, instead of as `chunk` messages. `credits`: `chunk` replies that may be on their way, instead of CREDITS.
   * `busy`: for a removal that nobody waits for, how many jobs go on that somebody does.
   */
  | { id: number; type: "start"; job: Job; lent?: Omit<LentInput, "giveBack">; credits?: number; busy?: Int32Array }
  /** What would be the next `chunk` replies goes there. */
  | { id: number; type: "pour"; to: Omit<LentOutput, "giveBack"> }
  /** The next bytes for an unpack without a file (undefined: the end; `error`: the source failed). */
  | { id: number; type: "chunk"; bytes?: Uint8Array; error?: string }
  /** So many bytes of a growing source are there. */
  | { id: number; type: "grown"; bytes: number }
  /** One `chunk` reply has been consumed. */
  | { id: number; type: "credit" }
  | { id: number; type: "cancel" };

export type Response =
  | { id: number; type: "done"; result: unknown }
  /** `blob`: digest of the whole source, where it was read to its end to tell a bad layer from a bad transfer. */
  | { id: number; type: "failed"; kind: ErrorKind; message: string; code?: "leans"; blob?: string }
  /** Bytes of the source read so far. */
  | { id: number; type: "progress"; bytes: number }
  | { id: number; type: "chunk"; bytes: Uint8Array }
  /** The Worker wants the next `chunk`. */
  | { id: number; type: "want" }
  /** The Worker has read all that is there of a growing source. */
  | { id: number; type: "more"; beyond: number };

/** Changes in one message: as many as are read without holding others up. */
export const BATCH = 1000;

/** `chunk`s on their way at most, replies or asked for. */
export const CREDITS = 4;
