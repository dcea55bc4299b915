import { randomUUID } from "node:crypto";
import type { ContentStore, Ingest } from "../content/types.ts";
import { isDiskFull } from "../lib/disk-full.ts";
import type { KeyedMutex } from "../lib/mutex.ts";
import { within } from "../lib/within.ts";
import type { Digest } from "../oci/digest.ts";
import { Fault } from "./faults.ts";
import type { Answer, Call } from "./http.ts";
import { parseChunkRange } from "./range.ts";
import type { Quota, Reservation } from "./quota.ts";
import type { Records } from "./records.ts";
import { parseDigestOf } from "./routes.ts";

interface Upload {
  id: string;
  name: string;
  ingest: Ingest;
  /** Room for its bytes. */
  reservation: Reservation;
  /** Of the request that is writing to it: resolves when it is done with. */
  writing: Promise<void> | undefined;
  /** Unix milliseconds. */
  usedAt: number;
}

export interface Uploads extends AsyncDisposable {
  /** `mayPull` tells from which repositories the caller may mount. */
  start(name: string, call: Call, mayPull: (repository: string) => boolean): Promise<Answer>;
  append(name: string, id: string, call: Call): Promise<Answer>;
  finish(name: string, id: string, call: Call): Promise<Answer>;
  /** Where it stands; while a request is writing, in a moment. */
  status(name: string, id: string): Promise<Answer>;
  cancel(name: string, id: string): Promise<Answer>;
  /** Ends those that nobody has gone on with for long. */
  dropIdle(): Promise<void>;
  /** Under way, and bytes taken in since the start. */
  figures(): { open: number; received: number };
}

/** Each holds a file open. */
const maxUploads = 1000;
/** An upload that nobody touched for so long makes room. Milliseconds. */
const idleLimit = 60 * 60 * 1000;
/**
 * How long the question where an upload stands waits for the request that is writing to it. Who asks has mostly lost its connection, of which bytes are on
 * their way yet: an answer that passes them over would have them sent again, from the start where none has been looked at. Milliseconds.
 */
const settleTime = 2000;

/**
 * Uploads live in memory: a registry that restarts has forgotten them, and clients start anew, as the spec lets them.
 * `digests` locks a digest while its blob is made visible or deleted.
 */
export function createUploads(deps: { content: ContentStore; records: Records; digests: KeyedMutex; quota: Quota }): Uploads {
  const { content, records, digests, quota } = deps;
  const uploads = new Map<string, Upload>();
  let received = 0;

  const drop = async (upload: Upload): Promise<void> => {
    uploads.delete(upload.id);
    upload.reservation[Symbol.dispose]();
    await upload.ingest[Symbol.asyncDispose]();
  };

  const dropIdle = async (): Promise<void> => {
    const old = [...uploads.values()].filter(({ writing, usedAt }) => writing === undefined && usedAt < Date.now() - idleLimit);
    for (const upload of old) await drop(upload);
  };

  /** Files that are just being opened count, too. */
  let opening = 0;
  const openFile = async (): Promise<Ingest> => {
    if (uploads.size + opening >= maxUploads) await dropIdle();
    if (uploads.size + opening >= maxUploads) throw new Fault("TOOMANYREQUESTS", `${maxUploads} uploads are under way`);
    opening++;
    try {
      return await content.ingest();
    } finally {
      opening--;
    }
  };

  const take = (name: string, id: string): Upload => {
    const upload = uploads.get(id);
    if (upload === undefined || upload.name !== name) throw new Fault("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
    return upload;
  };

  /** Runs `work` as the only writer. */
  const writing = async <T>(name: string, id: string, work: (upload: Upload) => Promise<T>): Promise<T> => {
    const upload = take(name, id);
    if (upload.writing !== undefined) throw new Fault("BLOB_UPLOAD_INVALID", "another request is writing to this upload", { status: 409 });
    const { promise, resolve } = Promise.withResolvers<void>();
    upload.writing = promise;
    try {
      return await work(upload);
    } catch (error) {
      // It can't be finished: what came of it, and the room that it reserved, is others'.
      if (lacksRoom(error)) await drop(upload);
      throw error;
    } finally {
      upload.writing = undefined;
      upload.usedAt = Date.now();
      resolve();
    }
  };

  const receive = async ({ ingest, reservation }: Upload, call: Call): Promise<void> => {
    const header = call.headers.get("content-range");
    const range = header === null ? undefined : parseChunkRange(header);
    const length = call.headers.get("content-length");
    if (header !== null && range === undefined) throw new Fault("BLOB_UPLOAD_INVALID", "invalid Content-Range");
    if (range !== undefined && range.start !== ingest.written) {
      throw new Fault("RANGE_INVALID", `the upload stands at byte ${ingest.written}`, { headers: { range: rangeOf(ingest.written) } });
    }
    if (range !== undefined && length !== null && Number(length) !== range.end - range.start) {
      throw new Fault("SIZE_INVALID", "Content-Range and Content-Length differ");
    }
    if (length !== null) reservation.grow(ingest.written + Number(length));
    for await (const chunk of call.body()) {
      reservation.grow(ingest.written + chunk.length);
      received += chunk.length;
      if (range !== undefined && ingest.written + chunk.length > range.end) throw new Fault("SIZE_INVALID", "the chunk is longer than its Content-Range");
      await ingest.write(chunk);
    }
    if (range !== undefined && ingest.written !== range.end) throw new Fault("SIZE_INVALID", "the chunk is shorter than its Content-Range");
  };

  const commit = async (upload: Upload, digest: Digest): Promise<Answer> => {
    try {
      await digests.run(digest, async () => {
        using _held = records.hold(digest);
        const { size } = await upload.ingest.commit({ digest });
        records.addBlob(upload.name, digest, size, Date.now());
      });
    } finally {
      // A wrong digest ends the upload too: its bytes can't become right.
      await drop(upload);
    }
    return created(upload.name, digest);
  };

  const accepted = ({ id, name, ingest }: Upload): Answer => ({
    status: 202,
    headers: { location: `/v2/${name}/blobs/uploads/${id}`, range: rangeOf(ingest.written), "docker-upload-uuid": id },
  });

  return {
    start: async (name, call, mayPull) => {
      const mount = call.query.get("mount");
      if (mount !== null && (await mountBlob(deps, { name, digest: parseDigestOf(mount), from: call.query.get("from"), mayPull }))) {
        return created(name, parseDigestOf(mount));
      }
      const digest = call.query.get("digest");
      const expected = digest === null ? undefined : parseDigestOf(digest);
      const ingest = await openFile();
      const upload: Upload = { id: randomUUID(), name, ingest, reservation: quota.reserve(name), writing: undefined, usedAt: Date.now() };
      uploads.set(upload.id, upload);
      if (expected === undefined) return accepted(upload);
      try {
        await writing(name, upload.id, async () => await receive(upload, call));
      } catch (error) {
        await drop(upload);
        throw error;
      }
      return await commit(upload, expected);
    },
    append: async (name, id, call) =>
      await writing(name, id, async (upload) => {
        await receive(upload, call);
        return accepted(upload);
      }),
    finish: async (name, id, call) => {
      const digest = parseDigestOf(call.query.get("digest"));
      return await writing(name, id, async (upload) => {
        await receive(upload, call);
        return await commit(upload, digest);
      });
    },
    status: async (name, id) => {
      const { writing } = take(name, id);
      if (writing !== undefined) await within(writing, settleTime);
      return { ...accepted(take(name, id)), status: 204 };
    },
    cancel: async (name, id) =>
      await writing(name, id, async (upload) => {
        await drop(upload);
        return { status: 204 };
      }),
    dropIdle,
    figures: () => ({ open: uploads.size, received }),
    [Symbol.asyncDispose]: async () => {
      await Promise.all(uploads.values().map(drop));
    },
  };
}

/** Refused by a quota or by the disk. */
function lacksRoom(error: unknown): boolean {
  return isDiskFull(error) || (error instanceof Fault && error.code === "DENIED");
}

/** As Docker's registry writes it: `0-0` for nothing yet. */
function rangeOf(written: number): string {
  return `0-${Math.max(0, written - 1)}`;
}

function created(name: string, digest: Digest): Answer {
  return { status: 201, headers: { location: `/v2/${name}/blobs/${digest}`, "docker-content-digest": digest } };
}

/** Takes a blob over from another repository that the caller may read; without `from`, from any such (distribution-spec 1.1). */
async function mountBlob(
  deps: { content: ContentStore; records: Records; digests: KeyedMutex; quota: Quota },
  mount: { name: string; digest: Digest; from: string | null; mayPull: (repository: string) => boolean },
): Promise<boolean> {
  const { content, records, digests, quota } = deps;
  const { name, digest, from, mayPull } = mount;
  return await digests.run(digest, () => {
    const sources = from === null ? records.holdersOf(digest) : records.blob(from, digest) === undefined ? [] : [from];
    const info = sources.some(mayPull) ? content.info(digest) : undefined;
    if (info === undefined) return false;
    using reservation = quota.reserve(name);
    if (records.blob(name, digest) === undefined) reservation.grow(info.size);
    records.addBlob(name, digest, info.size, Date.now());
    return true;
  });
}
