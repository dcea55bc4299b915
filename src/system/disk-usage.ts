import type { ContainerRecord, Containers } from "../containers/types.ts";
import { kindOf } from "../lib/errors.ts";
import type { Images } from "../images/types.ts";
import type { Volumes } from "../volumes/types.ts";
import type { DiskUsage, DiskUsageKind } from "./types.ts";

export interface DiskUsageDeps {
  images: Images;
  containers: Containers;
  volumes: Volumes;
}

/** Sizes are taken one after another: each walks a tree, and the disk is shared with containers. */
export async function diskUsage({ images, containers, volumes }: DiskUsageDeps, kinds: ReadonlySet<DiskUsageKind>): Promise<DiskUsage> {
  const usage: DiskUsage = {};
  if (kinds.has("image")) usage.images = imageUsage(images, containers);
  if (kinds.has("container")) {
    usage.containers = [];
    for (const record of containers.list({ all: true })) usage.containers.push({ record, ...(await containerSizes(containers, record)) });
  }
  if (kinds.has("volume")) {
    usage.volumes = [];
    for (const record of volumes.list()) usage.volumes.push({ record, size: await volumes.usage(record.name), users: volumes.usersOf(record.name).length });
  }
  return usage;
}

function imageUsage(images: Images, containers: Containers): NonNullable<DiskUsage["images"]> {
  const listed = images.list();
  const shared = images.sharedSizes();
  const items = listed.map((record) => ({
    record,
    containers: [record, ...record.variants].reduce((sum, { id }) => sum + containers.usingImage(id).length, 0),
    sharedSize: shared.get(record.id) ?? 0,
  }));
  return { items, layersSize: images.layersSize() };
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
