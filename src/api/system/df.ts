import { invalidArgument } from "../../lib/errors.ts";
import type { DiskUsage, DiskUsageKind } from "../../system/types.ts";
import { toSummary } from "../containers/convert.ts";
import { endpoint, jsonText, type Call } from "../endpoint.ts";
import { toImageSummary } from "../images/convert.ts";
import { jsonList } from "../json-list.ts";
import { toVolume } from "../volumes/volumes.ts";

const kinds: readonly DiskUsageKind[] = ["container", "image", "volume", "build-cache"];

/** Sums per kind; the objects themselves as they are listed: at the top level until 1.51 (and without `verbose`), under Items with `verbose` since. */
export const diskUsage = endpoint({
  method: "GET",
  path: "/system/df",
  handler: async (call) => {
    const { services, query, api } = call;
    const asked = api >= 42 ? query.all("type") : [];
    for (const kind of asked) if (!(kinds as readonly string[]).includes(kind)) throw invalidArgument(`unknown object type: ${kind}`);
    const wanted = new Set(asked.length === 0 ? kinds : (asked as DiskUsageKind[]));
    const usage = await services.system.diskUsage(wanted);
    const verbose = api >= 52 && query.bool("verbose");
    // also told to clients since 1.52 that don't know `verbose`: some speak the newest version without knowing it
    const legacy = !verbose;
    const parts = [await imagePart(call, usage), await containerPart(call, usage), await volumePart(usage), await buildCachePart(usage)];
    const answer: string[] = legacy ? [`"LayersSize":${usage.images?.layersSize ?? 0}`] : [];
    for (const part of parts) {
      if (part === undefined) continue;
      const sums = JSON.stringify(part.sums);
      if (api >= 52) answer.push(`"${part.name}":${verbose ? `${sums.slice(0, -1)},"Items":${part.items}}` : sums}`);
      if (legacy) answer.push(`"${part.legacyName}":${part.items}`);
    }
    return jsonText(`{${answer.join(",")}}`);
  },
});

interface Part {
  name: string;
  legacyName: string;
  sums: { ActiveCount: number; TotalCount: number; Reclaimable: number; TotalSize: number; BlobsSize?: number };
  /** JSON. */
  items: string;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

async function imagePart({ api, services }: Call, { images }: DiskUsage): Promise<Part | undefined> {
  if (images === undefined) return undefined;
  const active = images.items.filter(({ containers }) => containers > 0);
  // as dockerd on overlay2, unpacked layers; what they came as is kept besides, and BlobsSize is Berth's own word for that
  return {
    name: "ImageUsage",
    legacyName: "Images",
    sums: {
      ActiveCount: active.length,
      TotalCount: images.items.length,
      Reclaimable: images.reclaimable,
      TotalSize: images.layersSize,
      BlobsSize: images.blobsSize,
    },
    // the one place where clients of every version are told how many containers stand on an image
    items: await jsonList(images.items, ({ record, containers, sharedSize }) => {
      const summary = toImageSummary(record, { api, containers, sharedSize, descriptor: services.images.descriptor(record) });
      return JSON.stringify({ ...summary, Containers: containers });
    }),
  };
}

async function containerPart({ services, api }: Call, { containers }: DiskUsage): Promise<Part | undefined> {
  if (containers === undefined) return undefined;
  const active = containers.filter((each) => each.active);
  const total = sum(containers.map(({ rw }) => rw));
  return {
    name: "ContainerUsage",
    legacyName: "Containers",
    sums: { ActiveCount: active.length, TotalCount: containers.length, Reclaimable: total - sum(active.map(({ rw }) => rw)), TotalSize: total },
    items: await jsonList(containers, ({ record, rw, rootFs }) => {
      const context = { api, imageName: record.config.Image ?? record.imageId, sizes: { rw, rootFs } };
      return JSON.stringify(toSummary(record, services.containers.networkSettings(record), context));
    }),
  };
}

async function volumePart({ volumes }: DiskUsage): Promise<Part | undefined> {
  if (volumes === undefined) return undefined;
  const active = volumes.filter(({ users }) => users > 0);
  const total = sum(volumes.map(({ size = 0 }) => size));
  return {
    name: "VolumeUsage",
    legacyName: "Volumes",
    sums: { ActiveCount: active.length, TotalCount: volumes.length, Reclaimable: total - sum(active.map(({ size = 0 }) => size)), TotalSize: total },
    // Docker's figure for a size that can't be told
    items: await jsonList(volumes, ({ record, size = -1, users }) => JSON.stringify({ ...toVolume(record), UsageData: { RefCount: users, Size: size } })),
  };
}

/** What is shared with images is counted there: so does docker's command, up to 28, where dockerd itself counts it twice. */
async function buildCachePart({ buildCache }: DiskUsage): Promise<Part | undefined> {
  if (buildCache === undefined) return undefined;
  const own = buildCache.filter(({ shared }) => !shared);
  return {
    name: "BuildCacheUsage",
    legacyName: "BuildCache",
    sums: {
      ActiveCount: buildCache.filter(({ inUse }) => inUse).length,
      TotalCount: buildCache.length,
      Reclaimable: sum(own.filter(({ inUse }) => !inUse).map(({ size }) => size)),
      TotalSize: sum(own.map(({ size }) => size)),
    },
    items: await jsonList(buildCache, ({ id, parents, type, description, inUse, shared, size, createdAt, lastUsedAt, usageCount }) =>
      JSON.stringify({
        ID: id,
        ...(parents.length > 0 && { Parents: parents }),
        Type: type,
        Description: description,
        InUse: inUse,
        Shared: shared,
        Size: size,
        CreatedAt: new Date(createdAt).toISOString(),
        LastUsedAt: new Date(lastUsedAt).toISOString(),
        UsageCount: usageCount,
      }),
    ),
  };
}
