import { defineCommand } from "../command.ts";
import { confirm } from "../confirm.ts";
import { parseFilters } from "../parse/filters.ts";
import { pruneFlags, reportDeleted, reportReclaimed } from "../prune.ts";

export const prune = defineCommand({
  name: "volume prune",
  summary: "Remove unused local volumes",
  usage: "",
  flags: { ...pruneFlags, all: { type: "bool", short: "a", help: "Remove all unused volumes, not just anonymous ones" } },
  args: { min: 0, max: 0 },
  async run({ flags, client, io }) {
    const which = flags.all ? "all local volumes" : "anonymous local volumes";
    if (!flags.force) await confirm(io, `WARNING! This will remove ${which} not used by at least one container.`);
    const filters = { ...parseFilters(flags.filter), ...(flags.all ? { all: ["true"] } : {}) };
    const { VolumesDeleted: deleted, SpaceReclaimed: bytes = 0 } = await (await client()).volumes.prune(filters);
    await reportDeleted(io, "Deleted Volumes:", deleted);
    await reportReclaimed(io, bytes);
  },
});
