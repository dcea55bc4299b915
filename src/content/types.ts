import type { Digest } from "../oci/digest.ts";

export interface BlobInfo {
  digest: Digest;
  /** Bytes. */
  size: number;
}

/** One blob on its way in. Dispose without commit throws the bytes away. */
export interface Ingest extends AsyncDisposable {
  /** Appends; hashing happens on the way. Await each call: it is the back-pressure. */
  write(chunk: Uint8Array): Promise<void>;
  readonly written: number;
  /**
   * Makes the blob visible under its digest (rename, then its row).
   * @throws EngineError invalidArgument where digest or size differ from what was expected.
   */
  commit(expected?: { digest?: Digest; size?: number }): Promise<BlobInfo>;
  /** No more writes: the bytes become visible by `publish`, or go with what is returned. */
  seal(): Promise<Staged>;
}

/** Whether somebody needs a blob: by a row that names it, or by a lease. Asked at the moment of its removal, so it must be quick and must not wait. */
export type BlobOwner = (digest: Digest) => boolean;

/** A file whose bytes are still coming; whoever reads it follows them. */
export interface ArrivingFile {
  path: string;
  /** Bytes that it will have. */
  size: number;
  /** How many bytes from the start are there without a gap, once these are more than `beyond`, or all. Rejects where the bytes were thrown away. */
  more(beyond: number): Promise<number>;
}

/** Bytes that are no blob yet, since nobody has checked or synced them. */
export interface Staged extends AsyncDisposable {
  readonly digest: Digest;
  readonly size: number;
  readonly path: string;
  /** For the content store: its file has become the blob's. */
  published(): void;
}

/**
 * A blob that is being fetched, in pieces that come in any order. Everybody who fetches the same has the same file; dispose gives it back. It is deleted with
 * its last holder, unless it was published, or kept for another try. What an engine that was killed had of it is there again too.
 */
export interface Download extends Staged {
  /** Bytes that are there. */
  readonly received: number;
  /** Some of them come from an earlier try. */
  readonly resumed: boolean;
  missing(): { start: number; end: number }[];
  /** Await each call: it is the back-pressure. */
  write(at: number, chunks: readonly Uint8Array[]): Promise<void>;
  arriving(): ArrivingFile;
  /** They are not what the digest says: all of them are thrown away. */
  clear(): Promise<void>;
  /** What has come shall serve the next try. */
  keep(): void;
}

/** Blobs as files named by digest, laid out as an OCI image layout (`blobs/sha256/<hex>`), so that other tools read them. */
export interface ContentStore {
  info(digest: Digest): BlobInfo | undefined;
  /** Path of the blob's file. @throws EngineError notFound */
  path(digest: Digest): string;
  /** The bytes of [start, end). @throws EngineError notFound */
  open(digest: Digest, range?: { start?: number; end?: number }): ReadableStream<Uint8Array>;
  /** Whole blob in memory; refused above `limit` bytes (default 4 MiB, the size registries allow a manifest). */
  bytes(digest: Digest, limit?: number): Promise<Uint8Array>;
  json<T>(digest: Digest): Promise<T>;
  ingest(): Promise<Ingest>;
  /** Small blobs (manifests, configs) in one call. */
  put(bytes: Uint8Array | string, expected?: Digest): Promise<BlobInfo>;
  /** A small blob, checked, that becomes visible by `publish`. @throws EngineError invalidArgument for another digest */
  stage(bytes: Uint8Array, digest: Digest): Promise<Staged>;
  download(blob: { digest: Digest; size: number }): Promise<Download>;
  /**
   * Makes blobs visible, after one sync for all of them. The caller has checked their digests. `alongside` begins once their files are in place: where it
   * syncs the same disk, that is the same sync.
   */
  publish(blobs: readonly Staged[], alongside?: () => Promise<void>): Promise<void>;
  /** Deletes what is kept of downloads that nobody goes on with, if it is older than so many milliseconds (a day unless told). Returns the bytes that this freed. */
  collectDownloads(age?: number): Promise<number>;
  /**
   * Takes a blob away from whoever needs it, because its bytes are no good; where nobody needs it, use `collect`. Returns what its owners say that somebody
   * should do now.
   */
  remove(digest: Digest): Promise<string[]>;
  /**
   * From now on `collect` asks it, too. There may be several: an engine's images, and a registry that shares its store. `lose`: a blob is taken away from it; it
   * forgets that it had it, within a transaction, and may say in a sentence what somebody should do now.
   */
  addOwner(owner: BlobOwner, lose: (digest: Digest) => string | undefined): void;
  /** Removes those of the blobs that no owner holds. Returns them. */
  collect(digests: Iterable<Digest>): Promise<Digest[]>;
  list(): BlobInfo[];
  /** Files among the blobs that no record names, as `sha256/<hex>`; with `remove` they go. */
  strays(options?: { remove?: boolean }): Promise<string[]>;
  /** At start: deletes files without a row, and rows without a file. */
  restore(): Promise<void>;
}
