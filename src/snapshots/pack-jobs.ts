import { syncFileSystem } from "../kernel/sync.ts";
import { closeFd, openDirectory } from "../kernel/fs.ts";
import type { IdMap } from "../oci/id-map.ts";
import { packTree, type PackOptions } from "./packer.ts";
import { openStart } from "./path.ts";
import type { Job, Results } from "./protocol.ts";
import { openRecipe, remakeTar } from "./recipe.ts";
import { Root } from "./root.ts";
import type { RunningJob } from "./running-job.ts";

/** Jobs that make archives: of a layer, of what stands at a path, of a whole tree. */

export async function pack(running: RunningJob, job: Job & { op: "pack" }): Promise<Results["pack"]> {
  const hasher = new Bun.CryptoHasher("sha256");
  const breathe = running.breather();
  let tarSize = 0;
  using tree = openDirectory(job.tree);
  if (job.sync) syncFileSystem(tree.fd);
  const emit = async (chunk: Uint8Array): Promise<void> => {
    hasher.update(chunk);
    tarSize += chunk.length;
    await breathe();
    if (job.emit) await running.send(chunk);
  };
  using recipe = job.recipe === undefined ? undefined : openRecipe(job.recipe);
  const size =
    recipe === undefined
      ? await packTree({
          root: tree.fd,
          listRoot: job.listRoot,
          cancelled: () => running.isCancelled,
          emit,
        })
      : await remakeTar({ recipe, root: tree.fd, cancelled: () => running.isCancelled, emit });
  return { diffId: `sha256:${hasher.digest("hex")}`, tarSize, size };
}

/** An archive of what stands at `from`. */
async function sendTree(running: RunningJob, options: Pick<PackOptions, "root" | "from" | "whole">, idMap: IdMap | undefined): Promise<void> {
  const breathe = running.breather();
  await packTree({
    ...options,
    listRoot: false,
    ...(idMap !== undefined && { idMap }),
    cancelled: () => running.isCancelled,
    emit: async (chunk, files) => {
      await breathe();
      await running.send(chunk, files);
    },
    takesFiles: () => running.sendsFiles,
  });
}

export async function copyOut(running: RunningJob, job: Job & { op: "copyOut" }): Promise<undefined> {
  using root = new Root(job.root);
  const start = openStart(root, job.path);
  try {
    await sendTree(running, { root: root.fd, from: start }, job.idMap);
  } finally {
    closeFd(start.dir);
  }
}

export async function treeTar(running: RunningJob, job: Job & { op: "treeTar" }): Promise<undefined> {
  using tree = openDirectory(job.tree);
  const whole = job.whole && { from: { dir: tree.fd, base: ".", name: "." }, whole: true };
  await sendTree(running, { root: tree.fd, ...whole }, job.idMap);
  return undefined;
}
