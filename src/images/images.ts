import type { ContentStore } from "../content/types.ts";
import type { RegistryClient } from "../distribution/types.ts";
import type { Events } from "../events/types.ts";
import type { Logger } from "../lib/log.ts";
import type { Snapshots } from "../snapshots/types.ts";
import type { Store } from "../store/store.ts";
import { imageAttestations } from "./attestations.ts";
import { createCheck } from "./check/check.ts";
import { collectImages } from "./collect.ts";
import { createImageContext } from "./context.ts";
import { createImage } from "./create.ts";
import { imageHistory } from "./history.ts";
import { importImage } from "./import.ts";
import { isVariant, listImages } from "./list.ts";
import { loadImages } from "./load.ts";
import { manifestSummaries, targetDescriptor } from "./manifests.ts";
import { pruneImages } from "./prune.ts";
import { missingLayers, offeredLayer, offeredSource, offerImage, receiveLayer } from "./copy.ts";
import { createPull } from "./pull.ts";
import { createPush } from "./push.ts";
import { removeImage } from "./remove.ts";
import { resolveImage, resolveTarget, variantsOf } from "./resolve.ts";
import { restoreImages } from "./restore.ts";
import { saveImages } from "./save.ts";
import { tagImage } from "./tag.ts";
import type { Images, ImageUsers, TransferLimits } from "./types.ts";
import { diskUsage, layersSize, sharedSizes, storedBytes } from "./usage.ts";

/** One file a verb; context.ts holds the records they share. */
export function createImages(deps: {
  store: Store;
  content: ContentStore;
  snapshots: Snapshots;
  registry: RegistryClient;
  events: Events;
  users: ImageUsers;
  /** Docker's defaults unless told. */
  limits?: TransferLimits;
  log: Logger;
}): Images {
  const { users, limits = { maxConcurrentDownloads: 3, maxConcurrentUploads: 5 }, ...rest } = deps;
  const ctx = createImageContext({ ...rest, limits });
  const pull = createPull(ctx);
  return {
    resolve: (reference, options) => resolveImage(ctx, reference, options),
    named: (reference) => {
      const { image, target } = resolveTarget(ctx, reference);
      return [image, ...variantsOf(ctx, image, target).filter(({ id }) => id !== image.id)];
    },
    list: (options) => listImages(ctx, options),
    count: () => ctx.count() - ctx.untaggedMembers().filter((image) => isVariant(ctx, image)).length,
    pull,
    offer: (reference, options) => offerImage(ctx, reference, options),
    offeredLayer: (image, layer, start) => offeredLayer(ctx, image, layer, start),
    missingLayers: (offer) => missingLayers(ctx, offer),
    receiveLayer: (layer, start, source) => receiveLayer(ctx, layer, start, source),
    copy: ({ reference, platform, root, digested, documents }, options) =>
      pull(reference, { ...options, platform, undigested: !digested, source: offeredSource(reference, root, documents) }),
    push: createPush(ctx),
    tag: (source, target) => tagImage(ctx, source, target),
    remove: (reference, options) => removeImage(ctx, users, reference, options),
    prune: (options) => pruneImages(ctx, users, options),
    descriptor: (image) => targetDescriptor(ctx, image),
    manifests: (image) => manifestSummaries(ctx, image),
    attestations: (reference, options) => imageAttestations(ctx, reference, options),
    history: (reference, options) => imageHistory(ctx, reference, options),
    load: (source, options) => loadImages(ctx, source, options),
    save: (references, options) => saveImages(ctx, references, options),
    import: (source, options) => importImage(ctx, source, options),
    create: (options) => createImage(ctx, options),
    check: createCheck(ctx, users),
    lease: (image) => {
      const lease = ctx.lease();
      for (const resource of [image.id, ...image.layers]) lease.add(resource);
      ctx.lastUses.note(image.id);
      return lease;
    },
    isInUse: (image) => ctx.isLeased(image) || users.containersOf(image).length > 0,
    collect: (options) => collectImages(ctx, users, options),
    noteUse: (image) => ctx.lastUses.note(image),
    writeUses: () => ctx.lastUses.write(),
    storedBytes: () => storedBytes(ctx),
    diskUsage: (listed) => diskUsage(ctx, users, listed),
    layersSize: () => layersSize(ctx),
    sharedSizes: async () => await sharedSizes(ctx, await listImages(ctx, { all: true })),
    restore: () => restoreImages(ctx),
  };
}
