import { conflict } from "../../lib/errors.ts";
import { createPause } from "../../lib/turns.ts";
import { shortId } from "../resolve.ts";
import type { ImageContext, Images, ImageUsers } from "../types.ts";
import { checkBlobs } from "./blobs.ts";
import { checkLayers } from "./layers.ts";
import { createReader } from "./reader.ts";
import type { CheckOptions, CheckReport } from "./types.ts";

/** Blobs, then the layers that came from them, then images and what nobody names. One check at a time. */
export function createCheck(ctx: ImageContext, users: ImageUsers): Images["check"] {
  let isRunning = false;
  return async (given) => {
    if (isRunning) throw conflict("a check of what is stored is under way");
    isRunning = true;
    try {
      const report: CheckReport = { checked: { blobs: 0, bytes: 0, layers: 0, images: 0, containers: 0 }, problems: [] };
      const options: CheckOptions = {
        ...given,
        onProblem: (problem) => {
          report.problems.push(problem);
          given.onProblem(problem);
        },
      };
      using reader = createReader(options.signal);
      const broken = await checkBlobs(ctx, reader, options, report);
      await checkLayers({ ctx, users, reader, options, report, broken });
      await checkImages(ctx, options, report);
      await checkStrays(ctx, options);
      return report;
    } finally {
      isRunning = false;
    }
  };
}

/** What images' records say against what is there. A layer without files was told of by its own record. */
async function checkImages(ctx: ImageContext, options: CheckOptions, report: CheckReport): Promise<void> {
  const layers = new Set(ctx.snapshots.layers().map(({ id }) => id));
  const ids = ctx.ids();
  const pause = createPause();
  for (const id of ids) {
    await pause();
    const image = ctx.byId(id);
    options.onProgress("images", ++report.checked.images, ids.length);
    const problem = { kind: "image" as const, id, images: [image?.repoTags[0] ?? shortId(id)] };
    if (image === undefined) {
      options.onProblem({
        ...problem,
        problem: `the record of image ${shortId(id)} can't be read`,
        next: "pull, load or build it again: that writes the record anew",
      });
      continue;
    }
    const lost = image.layers.filter((layer) => !layers.has(layer));
    if (lost.length === 0 && image.layers.length === image.config.rootfs.diff_ids.length) continue;
    const what = lost.length > 0 ? `lacks ${lost.length} of its ${image.layers.length} layers` : "has a record that doesn't fit its config";
    options.onProblem({
      ...problem,
      problem: `image ${problem.images[0]} ${what}`,
      next: `remove it (berth rmi -f ${shortId(id)}) and pull, load or build it again`,
    });
  }
}

async function checkStrays(ctx: ImageContext, { repair, onProblem }: CheckOptions): Promise<void> {
  const files = (await ctx.content.strays({ remove: repair })).map((name) => `content/blobs/${name}`);
  const directories = (await ctx.snapshots.strays({ remove: repair })).map((name) => `snapshots/${name}`);
  for (const id of [...files, ...directories]) {
    const outcome = repair ? { repaired: "removed" } : { next: "berth system check --repair removes it, and so does the engine's next start" };
    onProblem({ kind: "file", id, images: [], problem: `${id} belongs to nothing that is recorded`, ...outcome });
  }
}
