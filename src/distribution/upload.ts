import { kindOf, messageOf } from "../lib/errors.ts";
import type { Endpoint } from "./endpoints.ts";
import { isTemporary, misbehaviour, RegistryError } from "./errors.ts";
import type { Call, Caller } from "./repository.ts";
import type { Exchange } from "./transport.ts";
import type { BlobSource, TransferOptions } from "./types.ts";

/** Uploads that broke off: the address at which the registry keeps what it has, by repository and digest. In memory: registries forget them as well. */
export type BrokenUploads = Map<string, string>;

/** A registry's own are thrown away after a week or less; nobody needs more of them. */
const MOST_BROKEN = 1000;
/** Where a proxy refuses a long request, pieces of this size and less are tried. */
const FIRST_PIECE = 64 << 20;
/** Amazon's registry takes no smaller ones, but for the last. */
const LEAST_PIECE = 5 << 20;

export interface Upload {
  /** Goes on from where the registry stands; call it again after a failure. `progressed` is told that something got there. */
  attempt(progressed: () => void): Promise<void>;
}

export interface UploadOptions extends Pick<TransferOptions, "signal"> {
  onProgress?: (bytes: number) => void;
}

/**
 * One blob's upload: POST, PATCH with the bytes, PUT with the digest, the way that all registries know. After a failure the registry is asked how far it
 * got (GET of the upload's address, distribution-spec "Pushing a blob in chunks"), and where it can't tell, the upload begins anew.
 */
export function createUpload(call: Caller, endpoint: Endpoint, broken: BrokenUploads, key: string, source: BlobSource, options: UploadOptions): Upload {
  const { signal, onProgress } = options;
  const common = signal === undefined ? {} : { signal };
  const octets = { "content-type": "application/octet-stream" };
  let location = broken.get(key);
  // Taken: a second push of the blob to the same repository needs an upload of its own.
  broken.delete(key);
  let offset = 0;
  /** The farthest that any try came. */
  let reached = 0;
  let piece = Infinity;
  let finished = false;

  /** Asks where the upload at `address` stands; undefined where the registry doesn't know it any more, or doesn't say. */
  const standing = async (address: string): Promise<{ location: string; offset: number } | undefined> => {
    try {
      using answer = await call(endpoint, { method: "GET", path: address, accept: [204, 202, 200], ...common });
      // `0-0` is said of no byte as well as of one.
      const end = endOf(answer);
      if (end === undefined || end === 0 || end >= source.size) return undefined;
      return { location: answer.headers.get("location") === null ? address : locationOf(answer, endpoint), offset: end + 1 };
    } catch (error) {
      if (!(error instanceof RegistryError) || error.status === undefined || error.temporary) throw error;
      return undefined;
    }
  };

  /** True where nothing is left to do: only the answer to the last request was lost. */
  const resume = async (address: string, progressed: () => void): Promise<boolean> => {
    const found = await standing(address);
    if (found !== undefined && found.offset > reached) progressed();
    location = found?.location;
    offset = found?.offset ?? 0;
    reached = Math.max(reached, offset);
    if (found !== undefined) return false;
    using there = await call(endpoint, { method: "HEAD", path: `blobs/${source.digest}`, accept: [200, 404], ...common });
    return there.status === 200;
  };

  const send = async (): Promise<void> => {
    const end = Math.min(source.size, offset + piece);
    const start = offset;
    const body = (): { stream: ReadableStream<Uint8Array>; size: number; onProgress: (bytes: number) => void } => ({
      stream: source.open({ start, end }),
      size: end - start,
      onProgress: (bytes) => onProgress?.(start + bytes),
    });
    // All at once goes with the digest, as containerd sends it: one request less.
    if (start === 0 && end === source.size) return await finish(body);
    using sent = await call(endpoint, {
      method: "PATCH",
      path: location!,
      headers: { ...octets, "content-range": `${start}-${end - 1}` },
      body,
      accept: [202, 201, 204],
      ...common,
    });
    location = locationOf(sent, endpoint);
    // A registry may have taken less than it was sent, and says so.
    const taken = endOf(sent);
    offset = taken === undefined || taken >= end || taken < start ? end : taken + 1;
  };

  const finish = async (body?: Call["body"]): Promise<void> => {
    const target = new URL(location!);
    target.searchParams.set("digest", source.digest);
    using _done = await call(endpoint, { method: "PUT", path: target.href, accept: [201, 204], headers: octets, ...(body && { body }), ...common });
    offset = source.size;
    finished = true;
  };

  /** True where a shorter piece may pass: a proxy on the way has a limit. */
  const shorten = (error: unknown): boolean => {
    if (!(error instanceof RegistryError) || error.status !== 413) return false;
    const tried = Math.min(piece, source.size - offset);
    if (tried <= LEAST_PIECE) return false;
    piece = Math.max(LEAST_PIECE, Math.min(FIRST_PIECE, Math.floor(tried / 2)));
    return true;
  };

  const transfer = async (progressed: () => void): Promise<void> => {
    if (location !== undefined && (await resume(location, progressed))) return;
    if (location === undefined) {
      using started = await call(endpoint, { method: "POST", path: "blobs/uploads/", accept: [202], ...common });
      location = locationOf(started, endpoint);
      offset = 0;
    }
    if (offset > 0) onProgress?.(offset);
    while (offset < source.size) {
      try {
        await send();
      } catch (error) {
        if (!shorten(error)) throw error;
        // What became of the refused piece, nobody knows.
        return await transfer(progressed);
      }
      if (offset > reached) progressed();
      reached = Math.max(reached, offset);
    }
    if (!finished) await finish();
  };

  return {
    attempt: async (progressed) => {
      const resumed = location !== undefined;
      broken.delete(key);
      try {
        await transfer(progressed);
      } catch (error) {
        const status = error instanceof RegistryError ? (error.status ?? 0) : 0;
        // The request that was lost is still being served: the upload grows, or is locked, for a moment.
        const moment = resumed && (status === 409 || status === 416);
        const again = moment || kindOf(error) === "cancelled" || isTemporary(error);
        if (again && location !== undefined) remember(broken, key, location);
        // Parts that don't fit together, or an upload that went away meanwhile: once more from the start.
        const anew = resumed && (status === 400 || status === 404);
        if (anew) location = undefined;
        if (moment || anew) throw new RegistryError("unavailable", messageOf(error), { status, temporary: true, cause: error });
        throw error;
      }
    },
  };
}

function remember(broken: BrokenUploads, key: string, location: string): void {
  broken.set(key, location);
  if (broken.size > MOST_BROKEN) broken.delete(broken.keys().next().value!);
}

/** The last byte that the registry has, of `Range: 0-<end>` (some write `bytes=0-<end>`). */
function endOf(answer: Exchange): number | undefined {
  const end = /^(?:bytes[= ])?0-(\d{1,15})$/.exec(answer.headers.get("range") ?? "")?.[1];
  return end === undefined ? undefined : Number(end);
}

/** Where to go on with an upload: absolute or relative, on another host too (then without our credentials). */
export function locationOf(exchange: Exchange, endpoint: Endpoint): string {
  const location = exchange.headers.get("location");
  if (location === null || !URL.canParse(location, exchange.url)) throw misbehaviour(`${exchange.url}: the registry's answer has no Location`);
  const target = new URL(location, exchange.url);
  const allowed = target.protocol === "https:" || (target.protocol === "http:" && (endpoint.base.startsWith("http:") || endpoint.tls.insecure));
  if (!allowed) throw misbehaviour(`${exchange.url}: refused an upload to ${target.protocol}//${target.host}`);
  return target.href;
}
