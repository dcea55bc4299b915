import { SysError } from "../kernel/ffi.ts";
import { decompressionError } from "../lib/compression.ts";
import { cancelled, kindOf, messageOf, type ErrorKind } from "../lib/errors.ts";
import { selectSources } from "./checksum.ts";
import { unpackContext } from "./context.ts";
import { copySources, makeDirectory } from "./copy.ts";
import type { FilesRequest, FromWorker, ToWorker } from "./files-protocol.ts";
import { Root } from "../snapshots/root.ts";

/** The builder's Worker: contexts are unpacked, sources hashed and copied here, away from the event loop. */
declare const self: {
  addEventListener(type: "message", listener: (event: { data: ToWorker }) => void): void;
  postMessage(message: FromWorker): void;
};

const waiting = new Map<number, { resolve(chunk: Uint8Array | undefined): void; reject(error: Error): void }>();

self.addEventListener("message", ({ data }) => {
  if ("request" in data) void answer(data.id, data.request);
  else if ("failed" in data) waiting.get(data.id)?.reject(cancelled(data.failed));
  else waiting.get(data.id)?.resolve(data.chunk);
});

async function answer(id: number, request: FilesRequest): Promise<void> {
  try {
    self.postMessage({ id, result: await serve(id, request) });
  } catch (error) {
    const shown = decompressionError(error);
    self.postMessage({ id, error: { kind: errorKind(shown), message: messageOf(shown) } });
  } finally {
    waiting.delete(id);
  }
}

/** What a hostile or mistaken archive or path makes the kernel say is the user's mistake; a full disk isn't. */
function errorKind(error: unknown): ErrorKind {
  const mistakes = ["ENOTDIR", "EISDIR", "ELOOP", "ENAMETOOLONG", "EEXIST", "ENOENT", "EINVAL", "EMLINK", "EXDEV"];
  return error instanceof SysError && mistakes.includes(error.code) ? "invalidArgument" : kindOf(error);
}

async function serve(id: number, request: FilesRequest): Promise<unknown> {
  if (request.op === "context") return await unpackContext(request.directory, pulled(id), request.dockerfile);
  if (request.op === "select") {
    using root = new Root(request.root);
    return selectSources(root, request.words, request.options);
  }
  using target = new Root(request.target);
  if (request.op === "mkdir") return makeDirectory(target, request.path);
  using root = new Root(request.root);
  return await copySources(root, request.sources, target, request.options);
}

/** The main thread's stream, a chunk at a time: that is the back-pressure. */
function pulled(id: number): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const next = new Promise<Uint8Array | undefined>((resolve, reject) => waiting.set(id, { resolve, reject }));
        self.postMessage({ id, pull: true });
        const chunk = await next;
        if (chunk === undefined) controller.close();
        else controller.enqueue(chunk);
      },
    },
    { highWaterMark: 0 },
  );
}
