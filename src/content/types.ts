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
}

/** Whether somebody needs a blob: by a row that names it, or by a lease. Asked at the moment of its removal, so it must be quick and must not wait. */
export type BlobOwner = (digest: Digest) => boolean;

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
  /** Whoever still needs it; where nobody may, use `collect`. */
  remove(digest: Digest): Promise<void>;
  /** From now on `collect` asks it, too. There may be several: an engine's images, and a registry that shares its store. */
  addOwner(owner: BlobOwner): void;
  /** Removes those of the blobs that no owner holds. Returns them. */
  collect(digests: Iterable<Digest>): Promise<Digest[]>;
  list(): BlobInfo[];
  /** At start: deletes files without a row, and rows without a file. */
  restore(): Promise<void>;
}
