import { mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { isDiskFull } from "../lib/disk-full.ts";
import { cancelled, EngineError, internal, invalidArgument, kindOf, messageOf, permissionDenied, unavailable } from "../lib/errors.ts";
import { compressionOf, decompressed, decompressionError, MAGIC_BYTES } from "../lib/compression.ts";
import { TarParser } from "../lib/tar-reader.ts";
import { createPause, type Pause, WORKER_PIECE } from "../lib/turns.ts";
import { SysError } from "../kernel/ffi.ts";
import { AT_FDCWD, closeFd, O, openAt, readFd } from "../kernel/fs.ts";
import { removeMountedFile, unmount } from "../kernel/mount.ts";
import { syncFileSystem } from "../kernel/sync.ts";
import type { IdMap } from "../oci/id-map.ts";
import { hasRareCompression, openArchive } from "./archive.ts";
import { cloneTree } from "./clone-tree.ts";
import { changesOf, sizeOf } from "./diff.ts";
import { extractTar } from "./extract.ts";
import { applyAttributes, plainDirectory } from "./init-layer.ts";
import { LeansOnParents } from "./leans.ts";
import { LentBody } from "./lent-input.ts";
import { LentAnswer } from "./lent-output.ts";
import { MergedView } from "./merged.ts";
import { packTree, type PackOptions } from "./packer.ts";
import { openStart, realDirectory, statPath } from "./path.ts";
import { BATCH, CREDITS, type Job, type Request, type Response, type Results } from "./protocol.ts";
import { openRecipe, Recorder, remakeTar } from "./recipe.ts";
import { Root } from "./root.ts";
import { unmountError } from "./unmount-error.ts";
import { removeTree } from "./tree.ts";
import { tooLarge, Unpacker } from "./unpacker.ts";

/** The Worker behind snapshots.ts: everything about layers that reads or writes many files, or may wait for the disk. */

declare const self: {
  addEventListener(type: "message", listener: (event: { data: Request }) => void): void;
  postMessage(message: Response, transfer?: ArrayBuffer[]): void;
};

type Lent = (Request & { type: "start" })["lent"];

interface Running {
  cancelled: boolean;
  credits: number;
  /** Called when a credit, a chunk or the cancellation came. */
  wake: () => void;
  input: (Request & { type: "chunk" })[];
  /** Bytes of a growing source that are there. */
  grown: number;
  /** Where chunks go instead of to the main thread. */
  sink: LentAnswer | undefined;
}

const running = new Map<number, Running>();

self.addEventListener("message", ({ data }) => {
  if (data.type === "start") {
    const state: Running = { cancelled: false, credits: data.credits ?? CREDITS, wake: () => {}, input: [], grown: 0, sink: undefined };
    running.set(data.id, state);
    void run(data.id, data.job, state, data.lent).finally(() => running.delete(data.id));
    return;
  }
  const state = running.get(data.id);
  if (state === undefined) return;
  if (data.type === "cancel") state.cancelled = true;
  if (data.type === "credit") state.credits++;
  if (data.type === "chunk") state.input.push(data);
  if (data.type === "grown") state.grown = data.bytes;
  if (data.type === "pour") state.sink = new LentAnswer(data.to, (milliseconds) => rest(milliseconds, state));
  state.wake();
});

async function run(id: number, job: Job, state: Running, lent: Lent): Promise<void> {
  try {
    const result = await perform(id, job, state, lent);
    await state.sink?.end();
    self.postMessage({ id, type: "done", result });
  } catch (error) {
    const leans = error instanceof LeansOnParents ? { code: "leans" as const } : {};
    const { cause, blob } = error instanceof BadSource ? error : { cause: error, blob: undefined };
    self.postMessage({ id, type: "failed", kind: kindOf(cause), message: messageOf(cause), ...leans, ...(blob !== undefined && { blob }) });
  }
}

async function perform(id: number, job: Job, state: Running, lent: Lent): Promise<Results[Job["op"]]> {
  switch (job.op) {
    case "unpack":
      return await unpack(id, job, state);
    case "pack":
      return await pack(id, job, state);
    case "stat":
    case "resolve": {
      using root = new Root(job.root);
      return job.op === "stat" ? statPath(root, job.path) : realDirectory(root, job.path);
    }
    case "copyOut":
      return await copyOut(id, job, state);
    case "copyIn":
      return await copyIn(id, job, state, lent);
    case "packWhole":
      return await packWhole(id, job, state);
    case "clone":
      return await clone(id, job, state);
    case "changes": {
      using below = new MergedView(job.parents);
      const changes = await withDirectory(job.tree, (fd) => inSlices(changesOf(fd, below), state));
      for (let at = 0; at < changes.length; at += BATCH) {
        await send(id, new TextEncoder().encode(JSON.stringify(changes.slice(at, at + BATCH))), state);
      }
      return undefined;
    }
    case "size":
      return await withDirectory(job.tree, (fd) => inSlices(sizeOf(fd), state));
    case "remove":
      await withDirectory(job.directory, (fd) => inSlices(removeTree(fd, job.name), state, givingWay(job.busy)));
      return undefined;
    case "setAside":
      return await inSlices(setAside(job), state);
    case "unmount":
      try {
        if (job.file) removeMountedFile(job.target);
        else unmount(job.target, { lazy: job.lazy });
      } catch (error) {
        throw unmountError(job.target, error);
      }
      return undefined;
  }
}

function* setAside({ root, trash, names, mark }: Job & { op: "setAside" }): Generator<void, Results["setAside"], undefined> {
  const moved: Results["setAside"] = [];
  for (const name of names) {
    const aside = `${name.replaceAll("/", "-")}.${mark}`;
    try {
      renameSync(join(root, name), join(trash, aside));
      moved.push(aside);
    } catch (error) {
      if ((error as { code?: string }).code !== "ENOENT") throw internal(`removing snapshot files ${name}: ${messageOf(error)}`, error);
      moved.push(undefined);
    }
    yield;
  }
  return moved;
}

/** Bytes of a file that are read at once. */
const READ = 1 << 18;

/** Lets messages in: cancellations, other jobs. */
function breather(state: Running): Pause {
  return createPause({
    piece: WORKER_PIECE,
    check: () => {
      if (state.cancelled) throw cancelled("cancelled");
    },
  });
}

/** Runs a generator for some milliseconds at a time, so that a long removal doesn't hold up another job. */
async function inSlices<T>(steps: Generator<void, T, undefined>, state: Running, breathe: Pause = breather(state)): Promise<T> {
  for (;;) {
    await breathe();
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** How long one removal gives way, altogether, and how often it looks whether it still has to, in milliseconds. */
const wayGiven = { most: 5000, each: 50 };

/** Lets what somebody waits for go on first, and messages in. */
function givingWay(busy: Int32Array): Pause {
  const breathe = createPause({ piece: WORKER_PIECE });
  let left = wayGiven.most;
  const give = async (): Promise<void> => {
    for (; left > 0 && Atomics.load(busy, 0) > 0; left -= wayGiven.each) await Bun.sleep(wayGiven.each);
  };
  return () => (left > 0 && Atomics.load(busy, 0) > 0 ? give() : breathe());
}

async function withDirectory<T>(path: string, work: (fd: number) => T | Promise<T>): Promise<T> {
  const fd = openAt(AT_FDCWD, Buffer.from(path).toString("latin1"), O.RDONLY | O.DIRECTORY);
  try {
    return await work(fd);
  } finally {
    closeFd(fd);
  }
}

function waiting(state: Running): Promise<void> {
  return new Promise((resolve) => (state.wake = resolve));
}

/** A layer that can't be unpacked, with the digest of all of its source. */
class BadSource extends Error {
  readonly blob: string;

  constructor(cause: unknown, blob: string) {
    super("bad layer", { cause });
    this.blob = blob;
  }
}

async function unpack(id: number, job: Job & { op: "unpack" }, state: Running): Promise<Results["unpack"]> {
  const { source: path, hash } = job;
  const blobHasher = hash === undefined ? undefined : new Bun.CryptoHasher(hash);
  let read = 0;
  let told = 0;
  let toldAt = 0;
  const count = (bytes: Uint8Array): void => {
    if (state.cancelled) throw cancelled("unpacking a layer was cancelled");
    blobHasher?.update(bytes);
    read += bytes.length;
    const now = performance.now();
    if (now - toldAt < 100) return;
    toldAt = now;
    told = read;
    self.postMessage({ id, type: "progress", bytes: read });
  };
  const file = path === undefined ? undefined : new SourceFile(id, path, job.size, state, count);
  const source = file === undefined ? fromMessages(id, state, count) : fromFile(file, breather(state));
  try {
    // Only layers are made so: to place a directory ext4 may have to read a block group's bitmaps from the disk (up to 140 ms on a busy one), which the
    // start of a container must not wait for.
    mkdirSync(job.apart);
    renameSync(job.apart, job.target);
    applyAttributes(job.target, plainDirectory);
    const result = await withDirectory(job.target, (root) => unpackInto(root, source, job, breather(state)));
    if (told !== read) self.postMessage({ id, type: "progress", bytes: read });
    return blobHasher === undefined ? result : { ...result, blob: `${hash}:${blobHasher.digest("hex")}` };
  } catch (error) {
    if (file === undefined || blobHasher === undefined || kindOf(error) !== "invalidArgument") throw error;
    // Whether the layer is bad, or what came over the network: for that all of it is read.
    while ((await file.read()) !== undefined);
    throw new BadSource(error, `${hash}:${blobHasher.digest("hex")}`);
  } finally {
    file?.close();
  }
}

async function unpackInto(root: number, source: ReadableStream<Uint8Array>, job: Job & { op: "unpack" }, breathe: Pause): Promise<Results["unpack"]> {
  const { limits } = job;
  using parents = job.parents === undefined ? undefined : new MergedView(job.parents);
  using unpacker = new Unpacker(root, parents, limits);
  using recipe = job.recipe === undefined ? undefined : new Recorder(unpacker, job.recipe);
  const parser = new TarParser(recipe ?? unpacker);
  let hasher: Bun.CryptoHasher | undefined;
  let tarSize = 0;
  try {
    const { stream, compression } = await decompressed(source);
    if (compression !== "none" || job.digest === undefined) hasher = new Bun.CryptoHasher("sha256");
    for await (const chunk of stream as unknown as AsyncIterable<Uint8Array>) {
      tarSize += chunk.length;
      if (limits !== undefined && tarSize > limits.bytes) throw tooLarge(limits.bytes);
      hasher?.update(chunk);
      if (recipe === undefined) parser.push(chunk);
      else recipe.record(chunk, () => parser.push(chunk));
      // A little of what is compressed may become very much: whoever gives up must not wait for the end of it.
      await breathe();
    }
  } catch (error) {
    throw decompressionError(error);
  }
  parser.finish();
  unpacker.finish();
  recipe?.finish();
  const { size, leans, listsRoot, exact } = unpacker;
  return { diffId: hasher === undefined ? job.digest! : `sha256:${hasher.digest("hex")}`, tarSize, size, leans, listsRoot, exact };
}

/** A file, maybe one that still grows. */
class SourceFile {
  readonly #id: number;
  readonly #path: string;
  readonly #size: number | undefined;
  readonly #state: Running;
  readonly #count: (bytes: Uint8Array) => void;
  #fd = -1;
  #at = 0;

  /** `size`: bytes that it will have, where it isn't whole yet. `count` sees all bytes in order, whoever reads them. */
  constructor(id: number, path: string, size: number | undefined, state: Running, count: (bytes: Uint8Array) => void) {
    this.#id = id;
    this.#path = path;
    this.#size = size;
    this.#state = state;
    this.#count = count;
  }

  /** The next bytes, in a buffer of their own; undefined at the end. Synchronous reads: this Worker has nothing better to do meanwhile. */
  async read(): Promise<Uint8Array | undefined> {
    const most = await this.#readable();
    if (most === 0) return undefined;
    try {
      if (this.#fd < 0) this.#fd = openAt(AT_FDCWD, Buffer.from(this.#path).toString("latin1"), O.RDONLY);
      const buffer = Buffer.allocUnsafeSlow(most);
      const length = readFd(this.#fd, buffer);
      this.#at += length;
      if (length === 0 && this.#size !== undefined) throw internal(`reading ${this.#path}: it is shorter than it should be`);
      if (length === 0) return undefined;
      const chunk = buffer.subarray(0, length);
      this.#count(chunk);
      return chunk;
    } catch (error) {
      throw error instanceof SysError ? internal(`reading ${this.#path}: ${error.message}`, error) : error;
    }
  }

  /** How many bytes may be read now; waits for some. 0 at the end of one that grew. */
  async #readable(): Promise<number> {
    if (this.#size === undefined) return READ;
    if (this.#at === this.#size) return 0;
    if (this.#at >= this.#state.grown) self.postMessage({ id: this.#id, type: "more", beyond: this.#at });
    while (this.#at >= this.#state.grown) {
      if (this.#state.cancelled) throw cancelled("unpacking a layer was cancelled");
      const failed = this.#state.input.shift()?.error;
      if (failed !== undefined) throw internal(failed);
      await waiting(this.#state);
    }
    return Math.min(READ, this.#state.grown - this.#at);
  }

  close(): void {
    if (this.#fd >= 0) closeFd(this.#fd);
    this.#fd = -1;
  }
}

function fromFile(file: SourceFile, breathe: Pause): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        await breathe();
        const chunk = await file.read();
        if (chunk === undefined) return controller.close();
        controller.enqueue(chunk);
      },
    },
    { highWaterMark: 0 },
  );
}

function fromMessages(id: number, state: Running, count: (bytes: Uint8Array) => void): ReadableStream<Uint8Array> {
  let asked = 0;
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        // More than is needed now: they are gathered while this one is worked on, and a busy host wakes each side less often.
        for (; asked < CREDITS; asked++) self.postMessage({ id, type: "want" });
        asked--;
        while (state.input.length === 0) {
          if (state.cancelled) throw cancelled("unpacking a layer was cancelled");
          await waiting(state);
        }
        const { bytes, error } = state.input.shift()!;
        if (error !== undefined) throw new EngineError("invalidArgument", error);
        if (bytes === undefined) return controller.close();
        count(bytes);
        controller.enqueue(bytes);
      },
    },
    { highWaterMark: 0 },
  );
}

/** Sends a chunk once the receiver has room for it. */
async function send(id: number, chunk: Uint8Array, state: Running): Promise<void> {
  while (state.credits === 0 && state.sink === undefined) {
    if (state.cancelled) throw cancelled("making an archive was cancelled");
    await waiting(state);
  }
  if (state.sink !== undefined) return await state.sink.write(chunk);
  state.credits--;
  // each chunk is made anew, in a buffer of its own, and let go of here: it changes hands without a copy
  self.postMessage({ id, type: "chunk", bytes: chunk }, [chunk.buffer as ArrayBuffer]);
}

async function pack(id: number, job: Job & { op: "pack" }, state: Running): Promise<Results["pack"]> {
  const hasher = new Bun.CryptoHasher("sha256");
  const breathe = breather(state);
  let tarSize = 0;
  return await withDirectory(job.tree, async (root) => {
    if (job.sync) syncFileSystem(root);
    const emit = async (chunk: Uint8Array): Promise<void> => {
      hasher.update(chunk);
      tarSize += chunk.length;
      await breathe();
      if (job.emit) await send(id, chunk, state);
    };
    using recipe = job.recipe === undefined ? undefined : openRecipe(job.recipe);
    const size =
      recipe === undefined
        ? await packTree({ root, listRoot: job.listRoot, ...(job.idMap !== undefined && { idMap: job.idMap }), cancelled: () => state.cancelled, emit })
        : await remakeTar({ recipe, root, cancelled: () => state.cancelled, emit });
    return { diffId: `sha256:${hasher.digest("hex")}`, tarSize, size };
  });
}

/** An archive of what stands at `from`. */
async function sendTree(id: number, options: Pick<PackOptions, "root" | "from" | "whole">, idMap: IdMap | undefined, state: Running): Promise<void> {
  const breathe = breather(state);
  await packTree({
    ...options,
    listRoot: false,
    ...(idMap !== undefined && { idMap }),
    cancelled: () => state.cancelled,
    emit: async (chunk) => {
      await breathe();
      await send(id, chunk, state);
    },
  });
}

async function copyOut(id: number, job: Job & { op: "copyOut" }, state: Running): Promise<undefined> {
  using root = new Root(job.root);
  const start = openStart(root, job.path);
  try {
    await sendTree(id, { root: root.fd, from: start }, job.idMap, state);
  } finally {
    closeFd(start.dir);
  }
}

async function copyIn(id: number, job: Job & { op: "copyIn" }, state: Running, lent: Lent): Promise<Results["copyIn"]> {
  using root = new Root(job.root);
  const body = lent === undefined ? undefined : new LentBody(lent, (milliseconds) => rest(milliseconds, state));
  try {
    const archive = body === undefined ? await openArchive(fromMessages(id, state, () => {})) : await openBody(body, breather(state));
    await extractTar(root, archive, {
      destination: job.path,
      replaceLinks: true,
      keepKinds: job.keepKinds,
      ...(job.whole === true && { whole: true }),
      ...(job.owner !== undefined && { owner: job.owner }),
      ...(job.idMap !== undefined && { idMap: job.idMap }),
    });
    if (job.whole === true) await withDirectory(job.root, syncFileSystem);
    return body?.end;
  } catch (error) {
    throw copyError(decompressionError(error), job.whole === true ? "" : "copying into the container: ");
  }
}

/** The plain bytes of an archive that is read from the client. */
async function openBody(body: LentBody, breathe: Pause): Promise<AsyncIterable<Uint8Array>> {
  const first = await body.read();
  async function* pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    for (let piece = first; piece !== undefined; piece = await body.read()) {
      yield piece;
      await breathe();
    }
  }
  if (first !== undefined && first.length >= MAGIC_BYTES && !hasRareCompression(first) && compressionOf(first) === "none") return pieces();
  const source = pieces();
  const stream = new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const { done, value } = await source.next();
        if (done === true) controller.close();
        // what decompresses it may keep it, while the piece itself is good for a moment only
        else controller.enqueue(Uint8Array.from(value));
      },
    },
    { highWaterMark: 0 },
  );
  return (await openArchive(stream)) as unknown as AsyncIterable<Uint8Array>;
}

/** Lets other jobs go on for so many milliseconds. */
async function rest(milliseconds: number, state: Running): Promise<void> {
  await Bun.sleep(milliseconds);
  if (state.cancelled) throw cancelled("cancelled");
}

async function packWhole(id: number, job: Job & { op: "packWhole" }, state: Running): Promise<undefined> {
  await withDirectory(job.tree, (root) => sendTree(id, { root, from: { dir: root, base: ".", name: "." }, whole: true }, job.idMap, state));
  return undefined;
}

async function clone(id: number, job: Job & { op: "clone" }, state: Running): Promise<undefined> {
  let bytes = 0;
  let toldAt = 0;
  const copied = (more: number): void => {
    bytes += more;
    const now = performance.now();
    if (now - toldAt < 100) return;
    toldAt = now;
    self.postMessage({ id, type: "progress", bytes });
  };
  try {
    await withDirectory(job.from, (from) =>
      withDirectory(job.to, async (to) => {
        await cloneTree(from, to, { breathe: breather(state), copied });
        syncFileSystem(to);
      }),
    );
    return undefined;
  } catch (error) {
    throw isDiskFull(error) ? unavailable(messageOf(error), error) : error;
  }
}

/** What an archive may ask for that can't be done. */
const mistakes = new Set([
  "ENOTDIR",
  "EISDIR",
  "ELOOP",
  "ENAMETOOLONG",
  "EEXIST",
  "ENOENT",
  "EINVAL",
  "EMLINK",
  "EXDEV",
  "ENOTEMPTY",
  "EBUSY",
  "EPERM",
  "EACCES",
  "EOVERFLOW",
]);

function copyError(error: unknown, what: string): unknown {
  if (!(error instanceof SysError)) return error;
  if (isDiskFull(error)) return unavailable(what + error.message, error);
  if (error.code === "EROFS") return permissionDenied(what + error.message, error);
  return mistakes.has(error.code) ? invalidArgument(error.message, error) : error;
}
