import { decompressed, decompressionError } from "../../lib/compression.ts";
import { cancelled, kindOf, messageOf, notFound } from "../../lib/errors.ts";
import { TarParser } from "../../lib/tar-reader.ts";
import { createPause, type Pause, WORKER_PIECE } from "../../lib/turns.ts";
import { openDirectory } from "../../kernel/fs.ts";
import { TreeComparer } from "../../snapshots/compare.ts";
import { packTree } from "../../snapshots/packer.ts";
import { openRecipe, remakeTar } from "../../snapshots/recipe.ts";
import type { CheckJob, CheckRequest, CheckResponse, CheckResults } from "./protocol.ts";

/** The Worker behind reader.ts: reads what is stored, from its first byte to its last. */

declare const self: {
  addEventListener(type: "message", listener: (event: { data: CheckRequest }) => void): void;
  postMessage(message: CheckResponse): void;
};

let isCancelled = false;

self.addEventListener("message", ({ data }) => {
  if (data.type === "cancel") isCancelled = true;
  else void run(data.job);
});

async function run(job: CheckJob): Promise<void> {
  isCancelled = false;
  try {
    self.postMessage({ type: "done", result: await perform(job) });
  } catch (error) {
    self.postMessage({ type: "failed", message: messageOf(error), cancelled: kindOf(error) === "cancelled" });
  }
}

async function perform(job: CheckJob): Promise<CheckResults[CheckJob["op"]]> {
  const breathe = createPause({
    piece: WORKER_PIECE,
    check: () => {
      if (isCancelled) throw cancelled("the check was cancelled");
    },
  });
  if (job.op === "digest") {
    const hasher = new Bun.CryptoHasher(job.algorithm);
    for await (const chunk of Bun.file(job.path).stream()) {
      hasher.update(chunk);
      await breathe();
    }
    return `${job.algorithm}:${hasher.digest("hex")}`;
  }
  using tree = openDirectory(job.tree);
  if (job.op === "compare") return await compare(job.path, tree.fd, breathe);
  return job.op === "pack" ? await pack(tree.fd, job.listRoot, breathe) : await remake(job.recipe, tree.fd, breathe);
}

async function compare(path: string, tree: number, breathe: Pause): Promise<string[]> {
  using comparer = new TreeComparer(tree);
  const parser = new TarParser(comparer);
  try {
    const { stream } = await decompressed(Bun.file(path).stream());
    for await (const chunk of stream as unknown as AsyncIterable<Uint8Array>) {
      parser.push(chunk);
      await breathe();
    }
  } catch (error) {
    throw decompressionError(error);
  }
  parser.finish();
  return [...comparer.differences.values()];
}

async function remake(path: string, root: number, breathe: Pause): Promise<CheckResults["remake"]> {
  using comparer = new TreeComparer(root);
  using recipe = openRecipe(path);
  if (recipe === undefined) throw notFound("its recipe is gone");
  const parser = new TarParser(comparer);
  const hasher = new Bun.CryptoHasher("sha256");
  const emit = (chunk: Uint8Array): Promise<void> | undefined => {
    hasher.update(chunk);
    parser.push(chunk);
    return breathe();
  };
  try {
    await remakeTar({ recipe, root, emit, cancelled: () => isCancelled });
    parser.finish();
  } catch (error) {
    // A file is gone or shorter: nothing of the tar comes after it.
    if (kindOf(error) === "cancelled") throw error;
    return { digest: "", differences: [messageOf(error)] };
  }
  return { digest: `sha256:${hasher.digest("hex")}`, differences: [...comparer.differences.values()] };
}

async function pack(root: number, listRoot: boolean, breathe: Pause): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  const emit = (chunk: Uint8Array): Promise<void> | undefined => {
    hasher.update(chunk);
    return breathe();
  };
  await packTree({ root, listRoot, emit, cancelled: () => isCancelled });
  return `sha256:${hasher.digest("hex")}`;
}
