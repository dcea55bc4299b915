import type { ImageDeleteItem } from "../../client/types.ts";
import { defineCommand } from "../command.ts";
import { confirm } from "../confirm.ts";
import { parseFilters } from "../parse/filters.ts";
import { pruneFlags, reportDeleted, reportReclaimed } from "../prune.ts";

export const prune = defineCommand({
  name: "image prune",
  summary: "Remove unused images",
  usage: "",
  flags: { ...pruneFlags, all: { type: "bool", short: "a", help: "Remove all unused images, not just dangling ones" } },
  args: { min: 0, max: 0 },
  async run({ flags, client, io }) {
    const which = flags.all ? "all images without at least one container associated to them" : "all dangling images";
    if (!flags.force) await confirm(io, `WARNING! This will remove ${which}.`);
    const { ImagesDeleted: deleted, SpaceReclaimed: bytes = 0 } = await (
      await client()
    ).images.prune({ ...parseFilters(flags.filter), dangling: [String(!flags.all)] });
    await reportDeleted(io, "Deleted Images:", deletedLines(deleted));
    await reportReclaimed(io, bytes);
  },
});

/** `untagged: x` and `deleted: sha256:…`, as image and system prune show them. */
export function deletedLines(items: readonly ImageDeleteItem[] | null | undefined): string[] {
  return (items ?? []).map(({ Untagged: name, Deleted: id }) => (name === undefined || name === "" ? `deleted: ${id}` : `untagged: ${name}`));
}
