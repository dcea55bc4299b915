import { defineCommand } from "../command.ts";
import { confirm } from "../confirm.ts";
import { parseFilters } from "../parse/filters.ts";
import { pruneFlags, reportDeleted } from "../prune.ts";

export const prune = defineCommand({
  name: "network prune",
  summary: "Remove all unused networks",
  usage: "",
  flags: pruneFlags,
  args: { min: 0, max: 0 },
  async run({ flags, client, io }) {
    if (!flags.force) await confirm(io, "WARNING! This will remove all custom networks not used by at least one container.");
    const { NetworksDeleted: deleted } = await (await client()).networks.prune(parseFilters(flags.filter));
    await reportDeleted(io, "Deleted Networks:", deleted);
  },
});
