import { defineCommand } from "../command.ts";
import { ago, ellipsis, humanSize, shortId } from "../format/human.ts";
import { writeList, type ListFormat, type Row } from "../format/output.ts";

const format: ListFormat = {
  headings: { ID: "IMAGE", CreatedSince: "CREATED", CreatedAt: "CREATED AT", CreatedBy: "CREATED BY", Size: "SIZE", Comment: "COMMENT" },
  columns: ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"],
  shrinkable: ["CreatedBy", "Comment"],
  quiet: "ID",
};

export const history = defineCommand({
  name: "image history",
  aliases: ["history"],
  summary: "Show the history of an image",
  usage: "IMAGE",
  flags: {
    format: { type: "string", help: "Format output: 'table', 'table TEMPLATE', 'json' or a Go template" },
    human: { type: "bool", short: "H", help: "Print sizes and dates in human readable format", default: "true" },
    "no-trunc": { type: "bool", help: "Don't truncate output" },
    platform: { type: "string", help: "Show history for the given platform" },
    quiet: { type: "bool", short: "q", help: "Only show image IDs" },
  },
  args: { min: 1, max: 1 },
  completes: "image",
  async run({ flags, args, client, io }) {
    const items = await (await client()).images.history(args[0] as string, { platform: flags.platform });
    const whole = flags["no-trunc"];
    const rows = items.map(({ Id: id, Created: created, CreatedBy: by, Size: size, Comment: comment }): Row => {
      const createdAt = new Date(created * 1000).toISOString().replace(".000Z", "Z");
      const text = by.replaceAll("\t", " ");
      return {
        ID: whole || id === "<missing>" || id === "" ? id || "<missing>" : shortId(id),
        CreatedSince: flags.human ? ago(created) : createdAt,
        CreatedAt: createdAt,
        CreatedBy: whole ? text : ellipsis(text, 45),
        Size: flags.human ? humanSize(size, 3) : String(size),
        Comment: comment,
      };
    });
    await writeList(io.out, rows, format, { format: flags.format, quiet: flags.quiet, whole });
  },
});
