import type { BuildCacheItem, ContainerSummary, DiskUsage, ImageSummary, VolumeResource } from "../../client/types.ts";
import { defineCommand } from "../command.ts";
import { ago, ellipsis, humanSize, shortId } from "../format/human.ts";
import { writeList, type ListFormat, type Row } from "../format/output.ts";
import { formatTable } from "../format/table.ts";

const format: ListFormat = {
  headings: { Type: "TYPE", TotalCount: "TOTAL", Active: "ACTIVE", Size: "SIZE", Reclaimable: "RECLAIMABLE" },
  columns: ["Type", "TotalCount", "Active", "Size", "Reclaimable"],
};

export const df = defineCommand({
  name: "system df",
  summary: "Show disk usage",
  usage: "",
  flags: {
    format: { type: "string", help: "Format output: 'table', 'table TEMPLATE', 'json' or a Go template" },
    verbose: { type: "bool", short: "v", help: "Show detailed information on space usage" },
  },
  args: { min: 0, max: 0 },
  async run({ flags, client, io }) {
    // The details are asked for in both cases: the totals of older engines are counted from them.
    const usage = normalize(await (await client()).system.diskUsage({ verbose: true }));
    if (flags.verbose && flags.format === "") await io.out.write(verboseText(usage));
    else await writeList(io.out, summaryRows(usage), format, { format: flags.format });
  },
});

interface Usage {
  layersSize: number;
  /** Of images; engines before API 1.52 don't say. */
  reclaimable: number | undefined;
  blobs: number | undefined;
  images: ImageSummary[];
  containers: ContainerSummary[];
  volumes: VolumeResource[];
  cache: BuildCacheItem[];
}

/** One shape for engines before and after API 1.52. */
function normalize(usage: DiskUsage): Usage {
  return {
    layersSize: usage.ImageUsage?.TotalSize ?? usage.LayersSize ?? 0,
    reclaimable: usage.ImageUsage?.Reclaimable,
    blobs: usage.ImageUsage?.BlobsSize,
    images: usage.ImageUsage?.Items ?? usage.Images ?? [],
    containers: usage.ContainerUsage?.Items ?? usage.Containers ?? [],
    volumes: usage.VolumeUsage?.Items ?? usage.Volumes ?? [],
    cache: usage.BuildCacheUsage?.Items ?? usage.BuildCache ?? [],
  };
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + Math.max(0, value), 0);
const isActive = ({ State: state }: ContainerSummary): boolean => ["running", "paused", "restarting"].includes(state);

function summaryRows({ layersSize, reclaimable, images, containers, volumes, cache }: Usage): Row[] {
  const row = (Type: string, total: number, active: number, size: number, reclaimable: number, percent = true): Row => ({
    Type,
    TotalCount: String(total),
    Active: String(active),
    Size: humanSize(size),
    Reclaimable: percent && size > 0 ? `${humanSize(reclaimable)} (${Math.trunc((reclaimable * 100) / size)}%)` : humanSize(reclaimable),
  });
  const usedImages = images.filter(({ Containers: count }) => count > 0);
  const used = sum(usedImages.map(({ Size, SharedSize }) => Size - Math.max(0, SharedSize)));
  const usedVolumes = volumes.filter(({ UsageData: data }) => (data?.RefCount ?? 0) > 0);
  const volumeSize = sum(volumes.map(({ UsageData: data }) => data?.Size ?? 0));
  const stopped = containers.filter((container) => !isActive(container));
  return [
    row("Images", images.length, usedImages.length, layersSize, reclaimable ?? Math.max(0, layersSize - used)),
    row(
      "Containers",
      containers.length,
      containers.length - stopped.length,
      sum(containers.map(({ SizeRw = 0 }) => SizeRw)),
      sum(stopped.map(({ SizeRw = 0 }) => SizeRw)),
    ),
    row("Local Volumes", volumes.length, usedVolumes.length, volumeSize, volumeSize - sum(usedVolumes.map(({ UsageData: data }) => data?.Size ?? 0))),
    row(
      "Build Cache",
      cache.length,
      cache.filter(({ InUse }) => InUse).length,
      sum(cache.filter(({ Shared }) => !Shared).map(({ Size }) => Size)),
      sum(cache.filter(({ InUse, Shared }) => !InUse && !Shared).map(({ Size }) => Size)),
      false,
    ),
  ];
}

function verboseText({ images, blobs, containers, volumes, cache }: Usage): string {
  const imageRows = images.map((image) => {
    const name = image.RepoTags?.[0] ?? "<none>:<none>";
    const colon = name.lastIndexOf(":");
    const shared = Math.max(0, image.SharedSize);
    return [
      name.slice(0, colon),
      name.slice(colon + 1),
      shortId(image.Id),
      ago(image.Created),
      humanSize(image.Size, 3),
      humanSize(shared),
      humanSize(image.Size - shared),
      String(Math.max(0, image.Containers)),
    ];
  });
  const containerRows = containers.map((container) => [
    container.Id.slice(0, 12),
    container.Image,
    JSON.stringify(ellipsis(container.Command, 20)),
    String((container.Mounts ?? []).length),
    humanSize(container.SizeRw ?? 0, 3),
    ago(container.Created),
    container.Status,
    container.Names.map((name) => name.replace(/^\//, "")).join(","),
  ]);
  const volumeRows = volumes.map(({ Name, UsageData: data }) => [Name, String(data?.RefCount ?? 0), humanSize(data?.Size ?? 0)]);
  const cacheRows = cache.map((item) => [
    `${item.ID.slice(0, 12)}${item.InUse ? "*" : ""}`,
    item.Type,
    humanSize(item.Size, 3),
    ago(Date.parse(item.CreatedAt) / 1000),
    item.LastUsedAt ? ago(Date.parse(item.LastUsedAt) / 1000) : "",
    String(item.UsageCount),
    String(item.Shared),
  ]);
  return [
    `Images space usage:\n\n${formatTable([["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"], ...imageRows])}${blobs === undefined ? "" : `\nBlobs kept beside them, for push and save: ${humanSize(blobs)}\n`}`,
    `Containers space usage:\n\n${formatTable([["CONTAINER ID", "IMAGE", "COMMAND", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES"], ...containerRows])}`,
    `Local Volumes space usage:\n\n${formatTable([["VOLUME NAME", "LINKS", "SIZE"], ...volumeRows])}`,
    `Build cache usage: ${humanSize(sum(cache.filter(({ Shared }) => !Shared).map(({ Size }) => Size)))}\n\n${formatTable([["CACHE ID", "CACHE TYPE", "SIZE", "CREATED", "LAST USED", "USAGE", "SHARED"], ...cacheRows])}`,
  ].join("\n");
}
