import type { Builder } from "../build/types.ts";
import type { ContainerRecord, Containers } from "../containers/types.ts";
import { kindOf } from "../lib/errors.ts";
import type { Images } from "../images/types.ts";
import { createPause } from "../lib/turns.ts";
import { hexOf } from "../oci/digest.ts";
import { isPlain } from "../volumes/options.ts";
import type { Volumes } from "../volumes/types.ts";
import type { DiskUsage, DiskUsageKind } from "./types.ts";

export interface DiskUsageDeps {
  builder: Pick<Builder, "cache">;
  images: Images;
  containers: Containers;
  volumes: Volumes;
}

/** Sizes are taken one after another: each walks a tree, and the disk is shared with containers. */
export async function diskUsage({ builder, images, containers, volumes }: DiskUsageDeps, kinds: ReadonlySet<DiskUsageKind>): Promise<DiskUsage> {
  const usage: DiskUsage = {};
  if (kinds.has("image")) usage.images = await imageUsage(images, containers, builder);
  if (kinds.has("container")) {
    usage.containers = [];
    for (const record of containers.list({ all: true })) usage.containers.push({ record, ...(await containerSizes(containers, record)) });
  }
  if (kinds.has("volume")) {
    usage.volumes = [];
    // what plugins keep isn't on this disk, nor is what options mount: neither is listed by Docker
    const pause = createPause();
    for (const record of volumes.list().filter(isPlain)) {
      await pause();
      const size = await volumes.usage(record.name);
      usage.volumes.push({ record, ...(size !== undefined && { size }), users: volumes.usersOf(record.name).length });
    }
  }
  if (kinds.has("build-cache")) usage.buildCache = await builder.cache();
  return usage;
}

/** Steps that only the build cache keeps are counted there. */
async function imageUsage(images: Images, containers: Containers, builder: DiskUsageDeps["builder"]): Promise<NonNullable<DiskUsage["images"]>> {
  const cached = (await builder.cache()).filter(({ shared }) => !shared);
  const ids = new Set(cached.map(({ id }) => id));
  const listed = (await images.list()).filter(({ id }) => !ids.has(hexOf(id)));
  const usage = await images.diskUsage(listed);
  const pause = createPause();
  const items: NonNullable<DiskUsage["images"]>["items"] = [];
  for (const record of listed) {
    await pause();
    const users = [record, ...record.variants].reduce((sum, { id }) => sum + containers.usingImage(id).length, 0);
    items.push({ record, containers: users, sharedSize: usage.shared.get(record.id)! });
  }
  return { items, reclaimable: usage.reclaimable, blobsSize: usage.blobs, layersSize: usage.layers - cached.reduce((sum, { size }) => sum + size, 0) };
}

/** A container that goes away meanwhile takes no space. */
async function containerSizes(containers: Containers, record: ContainerRecord): Promise<{ rw: number; rootFs: number; active: boolean }> {
  const active = record.state.status === "running" || record.state.status === "paused" || record.state.status === "restarting";
  try {
    return { ...(await containers.sizes(record.id)), active };
  } catch (error) {
    if (kindOf(error) !== "notFound") throw error;
    return { rw: 0, rootFs: 0, active };
  }
}
