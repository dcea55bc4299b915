import type { ImageRecord } from "../images/types.ts";
import { conflict, messageOf } from "../lib/errors.ts";
import { familiarReference, parseReference } from "../oci/reference.ts";
import type { ImageRunConfig } from "../oci/image.ts";
import { realtimeNano } from "../kernel/clock.ts";
import { formatNano } from "../lib/time.ts";
import type { SnapshotId } from "../snapshots/types.ts";
import { emitEvent, isBeingRemoved, lookup, type Context } from "./context.ts";
import { mergeConfig } from "./merge.ts";
import { pause, unpause } from "./pause.ts";
import type { CommitOptions } from "./types.ts";

/**
 * A new image: the container's own, and what the container changed as one layer on top. The layer is copied, so that the container lives on;
 * it is frozen meanwhile unless `pause` is off. @throws EngineError notFound, conflict
 */
export async function commit(ctx: Context, reference: string, options: CommitOptions): Promise<ImageRecord> {
  const entry = lookup(ctx, reference);
  const { record } = entry;
  if (isBeingRemoved(entry)) throw conflict(`container ${record.id} is marked for removal and cannot be committed`);
  const parent = ctx.images.resolve(record.imageId);
  using _lease = ctx.images.lease(parent);
  const freeze = options.pause && record.state.status === "running";
  const makeLayer = async (keep: (id: SnapshotId) => void): Promise<SnapshotId> => {
    if (freeze) await attempt(ctx, record.id, pause(ctx, record.id, { forCommit: true }));
    try {
      const { snapshot } = await ctx.snapshots.unpack({
        source: ctx.snapshots.diffTar(record.snapshot),
        parentIds: parent.config.rootfs.diff_ids,
        parents: parent.layers,
        onSnapshot: keep,
      });
      return snapshot;
    } finally {
      if (freeze && entry.record.state.status === "paused") await attempt(ctx, record.id, unpause(ctx, record.id));
    }
  };
  const created = formatNano(realtimeNano());
  const { Hostname: _h, Domainname: _d, Image: _i, ...config } = mergeConfig(options.config, record.config);
  const { rootfs: _layers, ...base } = parent.config;
  const image = await ctx.images.create({
    parent,
    snapshot: makeLayer,
    config: {
      ...base,
      created,
      container: record.id,
      config: config as ImageRunConfig,
      history: [
        ...(parent.config.history ?? []),
        { created, created_by: (record.config.Cmd ?? []).join(" "), author: options.author || undefined, comment: options.comment || undefined },
      ],
      ...(options.author === "" ? {} : { author: options.author }),
      ...(options.comment === "" ? {} : { comment: options.comment }),
    },
    ...(options.reference === undefined ? {} : { reference: options.reference }),
  });
  const attributes = {
    comment: options.comment,
    imageID: image.id,
    imageRef: options.reference === undefined ? "" : familiarReference(parseReference(options.reference)),
  };
  emitEvent(ctx, entry.record, { action: "commit", attributes });
  return image;
}

/** A container that ends just now can be neither frozen nor thawed, and needs neither: dockerd goes on too. */
async function attempt(ctx: Context, container: string, step: Promise<void>): Promise<void> {
  try {
    await step;
  } catch (error) {
    ctx.log.debug("freezing for a commit", { container, error: messageOf(error) });
  }
}
