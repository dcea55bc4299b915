import { defineCommand } from "../command.ts";
import { confirm } from "../confirm.ts";
import { deletedLines } from "../image/prune.ts";
import { parseFilters } from "../parse/filters.ts";
import { pruneFlags, reportDeleted, reportReclaimed } from "../prune.ts";

export const prune = defineCommand({
  name: "system prune",
  summary: "Remove unused data",
  usage: "",
  flags: {
    ...pruneFlags,
    all: { type: "bool", short: "a", help: "Remove all unused images, not just dangling ones" },
    volumes: { type: "bool", help: "Prune anonymous volumes" },
  },
  args: { min: 0, max: 0 },
  async run({ flags, client, io }) {
    if (!flags.force) await confirm(io, warning(flags));
    const engine = await client();
    const filters = parseFilters(flags.filter);
    let reclaimed = 0;
    const containers = await engine.containers.prune(filters);
    reclaimed += containers.SpaceReclaimed ?? 0;
    await reportDeleted(io, "Deleted Containers:", containers.ContainersDeleted);
    const networks = await engine.networks.prune(filters);
    await reportDeleted(io, "Deleted Networks:", networks.NetworksDeleted);
    if (flags.volumes) {
      const volumes = await engine.volumes.prune(filters);
      reclaimed += volumes.SpaceReclaimed ?? 0;
      await reportDeleted(io, "Deleted Volumes:", volumes.VolumesDeleted);
    }
    const images = await engine.images.prune({ ...filters, dangling: [String(!flags.all)] });
    reclaimed += images.SpaceReclaimed ?? 0;
    await reportDeleted(io, "Deleted Images:", deletedLines(images.ImagesDeleted));
    const cache = await engine.images.pruneBuildCache({ all: flags.all, filters });
    reclaimed += cache.SpaceReclaimed ?? 0;
    await reportDeleted(io, "Deleted build cache objects:", cache.CachesDeleted);
    await reportReclaimed(io, reclaimed);
  },
});

function warning(flags: { all: boolean; volumes: boolean; filter: string[] }): string {
  const items = [
    "all stopped containers",
    "all networks not used by at least one container",
    ...(flags.volumes ? ["all anonymous volumes not used by at least one container"] : []),
    flags.all ? "all images without at least one container associated to them" : "all dangling images",
    flags.all ? "all build cache" : "unused build cache",
  ];
  const filters =
    flags.filter.length === 0 ? "" : `\n\n  Items to be pruned will be filtered with:\n${flags.filter.map((filter) => `  - ${filter}`).join("\n")}`;
  return `WARNING! This will remove:\n${items.map((item) => `  - ${item}`).join("\n")}${filters}\n`;
}
