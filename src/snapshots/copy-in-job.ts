import { SysError } from "../kernel/ffi.ts";
import { openDirectory } from "../kernel/fs.ts";
import { syncFileSystem } from "../kernel/sync.ts";
import { compressionOf, decompressionError, MAGIC_BYTES } from "../lib/compression.ts";
import { isDiskFull } from "../lib/disk-full.ts";
import { invalidArgument, permissionDenied, unavailable } from "../lib/errors.ts";
import type { Pause } from "../lib/turns.ts";
import { hasRareCompression, openArchive } from "./archive.ts";
import { extractTar } from "./extract.ts";
import { LentBody } from "./lent-input.ts";
import type { Job, Results } from "./protocol.ts";
import { Root } from "./root.ts";
import type { RunningJob, Start } from "./running-job.ts";

/** Unpacks a client's archive into a tree. @throws EngineError */
export async function copyIn(running: RunningJob, job: Job & { op: "copyIn" }, lent: Start["lent"]): Promise<Results["copyIn"]> {
  using root = new Root(job.root);
  const body = lent === undefined ? undefined : new LentBody(lent, running.rest);
  try {
    const archive = body === undefined ? await openArchive(running.input()) : await openBody(body, running.breather());
    await extractTar(root, archive, {
      destination: job.path,
      replaceLinks: true,
      keepKinds: job.keepKinds,
      ...(job.whole === true && { whole: true }),
      ...(job.owner !== undefined && { owner: job.owner }),
      ...(job.idMap !== undefined && { idMap: job.idMap }),
    });
    if (job.whole === true) {
      // the root's own descriptor is a mere place (O_PATH), which can't be synced
      using directory = openDirectory(job.root);
      syncFileSystem(directory.fd);
    }
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
