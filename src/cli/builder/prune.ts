import { defineCommand } from "../command.ts";
import { confirm } from "../confirm.ts";
import { humanSize } from "../format/human.ts";
import { parseFilters } from "../parse/filters.ts";
import { pruneFlags, reportDeleted } from "../prune.ts";

export const prune = defineCommand({
  name: "builder prune",
  summary: "Remove build cache",
  usage: "",
  flags: {
    ...pruneFlags,
    all: { type: "bool", short: "a", help: "Remove all unused build cache, not just dangling ones" },
    "keep-storage": { type: "bytes", help: "Amount of disk space to keep for cache (the older name of --reserved-space)" },
    "reserved-space": { type: "bytes", help: "Amount of disk space to keep for cache in any case" },
    "max-used-space": { type: "bytes", help: "Maximum amount of disk space that cache may take" },
    "min-free-space": { type: "bytes", help: "Amount of disk space that shall be free afterwards" },
  },
  args: { min: 0, max: 0 },
  async run({ flags, client, io }) {
    const which = flags.all ? "all build cache" : "all dangling build cache";
    if (!flags.force) await confirm(io, `WARNING! This will remove ${which}.`);
    const engine = await client();
    const { CachesDeleted: deleted, SpaceReclaimed: bytes = 0 } = await engine.images.pruneBuildCache({
      all: flags.all,
      filters: parseFilters(flags.filter),
      reservedSpace: flags["reserved-space"] || flags["keep-storage"],
      maxUsedSpace: flags["max-used-space"],
      minFreeSpace: flags["min-free-space"],
    });
    await reportDeleted(io, "Deleted build cache objects:", deleted);
    await io.out.write(`Total:\t${humanSize(bytes)}\n`);
  },
});
