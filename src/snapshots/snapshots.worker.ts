import { isDiskFull } from "../lib/disk-full.ts";
import { cancelled, EngineError, internal, invalidArgument, kindOf, messageOf, permissionDenied, unavailable } from "../lib/errors.ts";
import { decompressed, decompressionError } from "../lib/compression.ts";
import { TarParser } from "../lib/tar-reader.ts";
import { SysError } from "../kernel/ffi.ts";
import { AT_FDCWD, closeFd, O, openAt, readFd } from "../kernel/fs.ts";
import { unmount } from "../kernel/mount.ts";
import { syncFileSystem } from "../kernel/sync.ts";
import { openArchive } from "./archive.ts";
import { changesOf, sizeOf } from "./diff.ts";
import { extractTar } from "./extract.ts";
import { LeansOnParents } from "./leans.ts";
import { MergedView } from "./merged.ts";
import { packTree } from "./packer.ts";
import { openStart, realDirectory, statPath } from "./path.ts";
import { BATCH, CREDITS, type Job, type Request, type Response, type Results } from "./protocol.ts";
import { Root } from "./root.ts";
import { unmountError } from "./unmount-error.ts";
import { removeTree } from "./tree.ts";
import { Unpacker } from "./unpacker.ts";

/** The Worker behind snapshots.ts: everything about layers that reads or writes many files, or may wait for the disk. */

declare const self: {
  addEventListener(type: "message", listener: (event: { data: Request }) => void): void;
  postMessage(message: Response, transfer?: ArrayBuffer[]): void;
};

interface Running {
  cancelled: boolean;
  credits: number;
  /** Called when a credit, a chunk or the cancellation came. */
  wake: () => void;
  input: (Request & { type: "chunk" })[];
}

const running = new Map<number, Running>();

self.addEventListener("message", ({ data }) => {
  if (data.type === "start") {
    const state: Running = { cancelled: false, credits: CREDITS, wake: () => {}, input: [] };
    running.set(data.id, state);
    void run(data.id, data.job, state).finally(() => running.delete(data.id));
    return;
  }
  const state = running.get(data.id);
  if (state === undefined) return;
  if (data.type === "cancel") state.cancelled = true;
  if (data.type === "credit") state.credits++;
  if (data.type === "chunk") state.input.push(data);
  state.wake();
});

async function run(id: number, job: Job, state: Running): Promise<void> {
  try {
    self.postMessage({ id, type: "done", result: await perform(id, job, state) });
  } catch (error) {
    const leans = error instanceof LeansOnParents ? { code: "leans" as const } : {};
    self.postMessage({ id, type: "failed", kind: kindOf(error), message: messageOf(error), ...leans });
  }
}

async function perform(id: number, job: Job, state: Running): Promise<Results[Job["op"]]> {
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
      return await copyIn(id, job, state);
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
      await withDirectory(job.directory, (fd) => inSlices(removeTree(fd, job.name), state));
      return undefined;
    case "unmount":
      try {
        unmount(job.target, { lazy: job.lazy });
      } catch (error) {
        throw unmountError(job.target, error);
      }
      return undefined;
  }
}

/** Lets messages in (cancellations, other jobs) once 10 ms have gone by since the last time. */
function breather(state: Running): () => Promise<void> | undefined {
  let start = performance.now();
  return () => {
    if (performance.now() - start < 10) return undefined;
    return new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
      if (state.cancelled) throw cancelled("cancelled");
      start = performance.now();
    });
  };
}

/** Runs a generator for some milliseconds at a time, so that a long removal doesn't hold up another job. */
async function inSlices<T>(steps: Generator<void, T, undefined>, state: Running): Promise<T> {
  const breathe = breather(state);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    await breathe();
  }
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

async function unpack(id: number, job: Job & { op: "unpack" }, state: Running): Promise<Results["unpack"]> {
  let read = 0;
  let told = 0;
  let toldAt = 0;
  const count = (bytes: number): void => {
    if (state.cancelled) throw cancelled("unpacking a layer was cancelled");
    read += bytes;
    const now = performance.now();
    if (now - toldAt < 100) return;
    toldAt = now;
    told = read;
    self.postMessage({ id, type: "progress", bytes: read });
  };
  const source = job.source === undefined ? fromMessages(id, state, count) : fromFile(job.source, count, breather(state));
  return await withDirectory(job.target, async (root) => {
    using parents = job.parents === undefined ? undefined : new MergedView(job.parents);
    using unpacker = new Unpacker(root, parents);
    const parser = new TarParser(unpacker);
    const hasher = new Bun.CryptoHasher("sha256");
    let tarSize = 0;
    try {
      const { stream } = await decompressed(source);
      for await (const chunk of stream as unknown as AsyncIterable<Uint8Array>) {
        tarSize += chunk.length;
        hasher.update(chunk);
        parser.push(chunk);
      }
    } catch (error) {
      throw decompressionError(error);
    }
    parser.finish();
    unpacker.finish();
    try {
      syncFileSystem(root);
    } catch (error) {
      throw unavailable(`writing a layer to the disk: ${messageOf(error)}`, error);
    }
    if (told !== read) self.postMessage({ id, type: "progress", bytes: read });
    return { diffId: `sha256:${hasher.digest("hex")}`, tarSize, size: unpacker.size, leans: unpacker.leans, listsRoot: unpacker.listsRoot };
  });
}

/** Synchronous reads of 256 KiB: this Worker has nothing better to do meanwhile. */
function fromFile(path: string, count: (bytes: number) => void, breathe: () => Promise<void> | undefined): ReadableStream<Uint8Array> {
  let fd = -1;
  const close = (): void => {
    if (fd >= 0) closeFd(fd);
    fd = -1;
  };
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        try {
          await breathe();
          if (fd < 0) fd = openAt(AT_FDCWD, Buffer.from(path).toString("latin1"), O.RDONLY);
          const buffer = Buffer.allocUnsafeSlow(1 << 18);
          const length = readFd(fd, buffer);
          count(length);
          if (length > 0) return controller.enqueue(buffer.subarray(0, length));
          close();
          controller.close();
        } catch (error) {
          close();
          controller.error(error instanceof SysError ? internal(`reading ${path}: ${error.message}`, error) : error);
        }
      },
      cancel: close,
    },
    { highWaterMark: 0 },
  );
}

function fromMessages(id: number, state: Running, count: (bytes: number) => void): ReadableStream<Uint8Array> {
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
        count(bytes?.length ?? 0);
        if (bytes === undefined) controller.close();
        else controller.enqueue(bytes);
      },
    },
    { highWaterMark: 0 },
  );
}

/** Sends a chunk once the receiver has room for it. */
async function send(id: number, chunk: Uint8Array, state: Running): Promise<void> {
  while (state.credits === 0) {
    if (state.cancelled) throw cancelled("making an archive was cancelled");
    await waiting(state);
  }
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
    const size = await packTree({
      root,
      listRoot: job.listRoot,
      ...(job.idMap !== undefined && { idMap: job.idMap }),
      cancelled: () => state.cancelled,
      emit: async (chunk) => {
        hasher.update(chunk);
        tarSize += chunk.length;
        await breathe();
        if (!job.emit) return;
        await send(id, chunk, state);
      },
    });
    return { diffId: `sha256:${hasher.digest("hex")}`, tarSize, size };
  });
}

async function copyOut(id: number, job: Job & { op: "copyOut" }, state: Running): Promise<undefined> {
  const breathe = breather(state);
  using root = new Root(job.root);
  const start = openStart(root, job.path);
  try {
    await packTree({
      root: root.fd,
      listRoot: false,
      from: start,
      ...(job.idMap !== undefined && { idMap: job.idMap }),
      cancelled: () => state.cancelled,
      emit: async (chunk) => {
        await breathe();
        await send(id, chunk, state);
      },
    });
  } finally {
    closeFd(start.dir);
  }
}

async function copyIn(id: number, job: Job & { op: "copyIn" }, state: Running): Promise<undefined> {
  using root = new Root(job.root);
  try {
    const archive = await openArchive(fromMessages(id, state, () => {}));
    await extractTar(root, archive, {
      destination: job.path,
      replaceLinks: true,
      keepKinds: job.keepKinds,
      ...(job.owner !== undefined && { owner: job.owner }),
      ...(job.idMap !== undefined && { idMap: job.idMap }),
    });
  } catch (error) {
    throw copyError(decompressionError(error));
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
]);

function copyError(error: unknown): unknown {
  if (!(error instanceof SysError)) return error;
  if (isDiskFull(error)) return unavailable(`copying into the container: ${error.message}`, error);
  if (error.code === "EROFS") return permissionDenied(`copying into the container: ${error.message}`, error);
  return mistakes.has(error.code) ? invalidArgument(error.message, error) : error;
}
