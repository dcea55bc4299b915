import { defineCommand } from "../command.ts";
import { confirm } from "../confirm.ts";
import { parseFilters } from "../parse/filters.ts";
import { pruneFlags, reportDeleted, reportReclaimed } from "../prune.ts";

export const prune = defineCommand({
  name: "container prune",
  summary: "Remove all stopped containers",
  usage: "",
  flags: pruneFlags,
  args: { min: 0, max: 0 },
  async run({ flags, client, io }) {
    if (!flags.force) await confirm(io, "WARNING! This will remove all stopped containers.");
    const { ContainersDeleted: deleted, SpaceReclaimed: bytes = 0 } = await (await client()).containers.prune(parseFilters(flags.filter));
    await reportDeleted(io, "Deleted Containers:", deleted);
    await reportReclaimed(io, bytes);
  },
});
