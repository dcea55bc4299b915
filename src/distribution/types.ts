import type { Digest } from "../oci/digest.ts";
import type { Descriptor, Index, Manifest } from "../oci/image.ts";
import type { Reference } from "../oci/reference.ts";

/** What a client sends as X-Registry-Auth. The password never leaves for a host other than the registry and the token server it names. */
export interface Credentials {
  username?: string;
  password?: string;
  /** base64 of `user:password`. */
  auth?: string;
  serveraddress?: string;
  /** OAuth refresh token from an earlier login. */
  identitytoken?: string;
  /** A bearer token, used as it is. */
  registrytoken?: string;
}

/** A manifest or index as the registry holds it; `bytes` are what its digest covers. */
export interface RemoteManifest {
  descriptor: Descriptor;
  bytes: Uint8Array;
  document: { kind: "manifest"; manifest: Manifest } | { kind: "index"; index: Index };
}

/** Where a blob's bytes go that come in any order, from several connections at once; a content store's download is one. */
export interface BlobTarget {
  missing(): { start: number; end: number }[];
  /** Await each call: it is the back-pressure. */
  write(at: number, chunks: readonly Uint8Array[]): Promise<void>;
}

/** Where a blob's bytes go, one after another. `written` is where a broken download resumes; a content store's ingest is one. */
export interface BlobSink {
  write(chunk: Uint8Array): Promise<void>;
  readonly written: number;
}

export interface BlobSource {
  digest: Digest;
  /** Bytes. */
  size: number;
  /** The bytes of [start, end). Called anew for each try. */
  open(range: { start: number; end: number }): ReadableStream<Uint8Array>;
}

export interface TransferOptions {
  signal?: AbortSignal;
  /** Before each repeated try; `seconds` until it starts. */
  onRetry?: (seconds: number, error: unknown) => void;
}

/** One repository of one registry, with one set of credentials. All methods throw RegistryError, or EngineError `cancelled` once the signal has fired. */
export interface RemoteRepository {
  readonly reference: Reference;
  /** By tag or digest; the digest is checked. */
  manifest(version: string, options?: { signal?: AbortSignal }): Promise<RemoteManifest>;
  /** The manifest's descriptor without its body; undefined where the registry has none or doesn't say its digest. */
  head(version: string, options?: { signal?: AbortSignal }): Promise<Descriptor | undefined>;
  /** Fetches what `target` lacks of a blob, a large one over several connections. Never writes beyond the descriptor's size; somebody else checks the digest. */
  download(descriptor: Descriptor, target: BlobTarget, options?: TransferOptions): Promise<void>;
  /** Streams a blob into `sink`, going on where it stopped after a lost connection. Never writes more than the descriptor's size; the sink checks the digest. */
  blob(descriptor: Descriptor, sink: BlobSink, options?: TransferOptions): Promise<void>;
  hasBlob(digest: Digest, options?: { signal?: AbortSignal }): Promise<boolean>;
  /** Takes the blob over from repository `from` (a path in the same registry); false where the registry won't. */
  mount(digest: Digest, from: string, options?: { signal?: AbortSignal }): Promise<boolean>;
  /** Goes on where an earlier try broke off, also one of an earlier push that was cancelled, if the registry still has its part. */
  upload(blob: BlobSource, options?: TransferOptions & { onProgress?: (bytes: number) => void }): Promise<void>;
  putManifest(version: string, bytes: Uint8Array, mediaType: string, options?: { signal?: AbortSignal }): Promise<Digest>;
  /** All tags, through all pages. */
  tags(options?: { signal?: AbortSignal }): Promise<string[]>;
}

export interface SearchResult {
  name: string;
  description: string;
  stars: number;
  official: boolean;
}

export interface RegistryPlaces {
  /** Hosts and CIDRs that may speak plain http or show any certificate; loopback always may. */
  insecure: readonly string[];
  /** URLs of mirrors of docker.io. */
  mirrors: readonly string[];
  /** URLs of mirrors of other registries, by host; `*` for all that have none of their own. */
  mirrorsOf?: Readonly<Record<string, readonly string[]>>;
}

export interface RegistryClient {
  /** Checks new settings; calling what is returned puts them into force, for transfers that begin later. @throws EngineError invalidArgument */
  configure(places: RegistryPlaces): () => void;
  repository(reference: Reference, options?: { credentials?: Credentials; push?: boolean }): RemoteRepository;
  /** Checks credentials against the registry's /v2/. @throws RegistryError (unauthorized) */
  login(host: string, credentials: Credentials, options?: { signal?: AbortSignal }): Promise<{ identityToken?: string }>;
  /** Up to `limit` repositories that fit `term`, at Docker Hub or at the registry it begins with. @throws RegistryError, EngineError invalidArgument */
  search(term: string, limit: number, options?: { credentials?: Credentials; signal?: AbortSignal }): Promise<SearchResult[]>;
  /** Whether plain http or a bad certificate is accepted for `host` (as in a reference's domain). */
  isInsecure(host: string): Promise<boolean>;
}
