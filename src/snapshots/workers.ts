import { cancelled, EngineError, internal, messageOf } from "../lib/errors.ts";
import type { LentInput, LentOutput, Upload } from "../lib/lent.ts";
import { createLimiter } from "../lib/limiter.ts";
import { startWorker, type WorkerHandle } from "../lib/worker.ts";
import type { Digest } from "../oci/digest.ts";
import { BadLayer } from "./bad-layer.ts";
import { LeansOnParents } from "./leans.ts";
import type { Job, Request, Response, Results } from "./protocol.ts";

/** Workers for unpacking: more gained nothing on the machines measured (reference: bun.md, section 5). */
const UNPACKERS = 2;
/** Layers that are unpacked at once. More than Workers, since some wait for bytes that are on their way. */
const UNPACKS = 4;

/** Jobs that go on for as long as their other end likes; all but these and `unpack` are short. */
const streaming: ReadonlySet<Job["op"]> = new Set<Job["op"]>(["pack", "copyOut", "copyIn", "clone", "treeTar"]);

export interface JobOptions {
  signal?: AbortSignal;
  onProgress?: (bytes: number) => void;
  /** Bytes for an unpack without a file, and for a copyIn. The latter takes them from the client itself where it can. */
  input?: Upload;
  /** For an unpack of a file that grows: how far it is there, once that is more than `beyond`. */
  more?: (beyond: number) => Promise<number>;
  /** Takes the chunks of a pack; call `credit` once each has been consumed. */
  onChunk?: (bytes: Uint8Array, control: ChunkControl) => void;
  /** Chunks on their way at most, until more are let go by further calls of `credit`. */
  credits?: number;
}

export interface ChunkControl {
  credit(): void;
  /** Instead: the Worker writes all that is still to come there, by itself. Only once all chunks that came have been consumed, and no `credit` was given for the last. */
  pour(to: Omit<LentOutput, "giveBack">): void;
}

/** Clients send pieces of 32 KiB and less: a message for each would take longer than the work on it. */
const GATHERED = 1 << 19;

/** The next bytes, several pieces of the stream at once, in a buffer of their own; undefined at the end. */
async function gather(input: { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }> }): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  while (length < GATHERED) {
    const { done, value } = await input.read();
    if (done || value === undefined) break;
    pieces.push(value);
    length += value.length;
  }
  if (length === 0) return undefined;
  const gathered = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for (const piece of pieces) {
    gathered.set(piece, at);
    at += piece.length;
  }
  return gathered;
}

function failureOf({ code, kind, message, blob }: Response & { type: "failed" }): Error {
  if (code === "leans") return new LeansOnParents();
  return blob === undefined ? new EngineError(kind, message) : new BadLayer(kind, message, blob as Digest);
}

interface Member {
  handle: WorkerHandle<Request, Response>;
  jobs: Map<number, { receive: (message: Response) => void; fail: (error: Error) => void }>;
}

/** The Workers behind a snapshots store, each started with the first need for it. */
export interface SnapshotWorkers extends Disposable {
  /** How many jobs go on that somebody waits for: removals give way to them. */
  readonly busy: Int32Array;
  run<J extends Job>(job: J, options?: JobOptions): Promise<Results[J["op"]]>;
}

export function createSnapshotWorkers(): SnapshotWorkers {
  const unpackers: (Member | undefined)[] = Array.from({ length: UNPACKERS });
  let keeper: Member | undefined;
  let nextId = 0;
  /** How many jobs go on that somebody waits for. */
  const busy = new Int32Array(new SharedArrayBuffer(4));
  const unpacks = createLimiter(() => UNPACKS);

  const start = (drop: () => void): Member => {
    const handle = startWorker<Request, Response>("snapshots/snapshots.worker.ts");
    const jobs: Member["jobs"] = new Map();
    handle.onMessage((message) => jobs.get(message.id)?.receive(message));
    handle.onError((error) => {
      drop();
      for (const job of jobs.values()) job.fail(error);
      jobs.clear();
    });
    return { handle, jobs };
  };
  // Small jobs have a Worker of their own, so that an unmount never waits for a layer.
  const small = (): Member => (keeper ??= start(() => (keeper = undefined)));
  const large = (): Member => {
    for (const [i, member] of unpackers.entries()) {
      if (member === undefined) return (unpackers[i] = start(() => (unpackers[i] = undefined)));
      if (member.jobs.size === 0) return member;
    }
    return unpackers.reduce((least, member) => (member!.jobs.size < least!.jobs.size ? member : least))!;
  };

  const dispatch = <J extends Job>(member: Member, job: J, options: JobOptions, lent?: LentInput): Promise<Results[J["op"]]> => {
    const id = ++nextId;
    const { promise, resolve, reject } = Promise.withResolvers<Results[J["op"]]>();
    const input = lent === undefined ? options.input?.getReader() : undefined;
    let fed = Promise.resolve();
    const feed = async (): Promise<void> => {
      try {
        const bytes = await gather(input!);
        if (bytes === undefined) member.handle.post({ id, type: "chunk" });
        else member.handle.post({ id, type: "chunk", bytes }, [bytes.buffer]);
      } catch (error) {
        member.handle.post({ id, type: "chunk", error: messageOf(error) });
      }
    };
    const abort = (): void => member.handle.post({ id, type: "cancel" });
    const isAwaited = streaming.has(job.op) || job.op === "unpack";
    if (isAwaited) Atomics.add(busy, 0, 1);
    const finish = (): void => {
      if (isAwaited && member.jobs.has(id)) Atomics.sub(busy, 0, 1);
      member.jobs.delete(id);
      options.signal?.removeEventListener("abort", abort);
    };
    const control: ChunkControl = {
      credit: () => member.handle.post({ id, type: "credit" }),
      pour: ({ fd, isChunked }) => member.handle.post({ id, type: "pour", to: { fd, isChunked } }),
    };
    member.jobs.set(id, {
      fail: (error) => {
        finish();
        void input?.cancel(error).catch(() => {});
        reject(internal(`a Worker failed: ${error.message}`, error));
      },
      receive: (message) => {
        switch (message.type) {
          case "progress":
            return options.onProgress?.(message.bytes);
          case "want":
            return void (fed = fed.then(feed));
          case "more":
            options.more!(message.beyond).then(
              (bytes) => member.handle.post({ id, type: "grown", bytes }),
              (error: unknown) => member.handle.post({ id, type: "chunk", error: messageOf(error) }),
            );
            return;
          case "chunk":
            return options.onChunk?.(message.bytes, control);
          case "done":
            finish();
            return resolve(message.result as Results[J["op"]]);
          case "failed": {
            finish();
            const error = failureOf(message);
            // The client may go on sending: nobody reads it any more.
            void input?.cancel(error).catch(() => {});
            return reject(error);
          }
        }
      },
    });
    options.signal?.addEventListener("abort", abort);
    member.handle.post({
      id,
      type: "start",
      job,
      ...(lent !== undefined && { lent: { fd: lent.fd, framing: lent.framing, first: lent.first } }),
      ...(job.op === "remove" && job.isAwaited !== true && { busy }),
      ...(options.credits !== undefined && { credits: options.credits }),
    });
    if (options.signal?.aborted === true) abort();
    return promise;
  };

  const copyIn = async (job: Job & { op: "copyIn" }, options: JobOptions): Promise<Results["copyIn"]> => {
    const lent = await options.input?.lend?.();
    let end: Results["copyIn"];
    try {
      return (end = await dispatch(large(), job, options, lent));
    } finally {
      lent?.giveBack(end ?? { isWhole: false, rest: new Uint8Array() });
    }
  };

  return {
    busy,
    run: async (job, options = {}) => {
      if (options.signal?.aborted === true) throw cancelled(`${job.op} was cancelled`);
      if (job.op === "copyIn") return (await copyIn(job, options)) as never;
      if (job.op !== "unpack") return await dispatch(streaming.has(job.op) ? large() : small(), job, options);
      using _place = await unpacks.enter(options);
      return await dispatch(large(), job, options);
    },
    [Symbol.dispose]: () => {
      for (const member of [keeper, ...unpackers]) member?.handle[Symbol.dispose]();
      keeper = undefined;
      unpackers.fill(undefined);
    },
  };
}
