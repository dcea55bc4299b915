import { defineCommand } from "../command.ts";
import { ellipsis } from "../format/human.ts";
import { writeList, type ListFormat } from "../format/output.ts";
import { parseFilters } from "../parse/filters.ts";

const format: ListFormat = {
  headings: { Name: "NAME", Description: "DESCRIPTION", StarCount: "STARS", IsOfficial: "OFFICIAL" },
  columns: ["Name", "Description", "StarCount", "IsOfficial"],
  shrinkable: ["Description"],
};

export const search = defineCommand({
  name: "search",
  summary: "Search Docker Hub for images",
  usage: "TERM",
  flags: {
    filter: { type: "list", short: "f", help: "Filter output based on conditions provided", value: "filter" },
    format: { type: "string", help: "Format output: 'table', 'table TEMPLATE', 'json' or a Go template" },
    limit: { type: "int", help: "Max number of search results" },
    "no-trunc": { type: "bool", help: "Don't truncate output" },
  },
  args: { min: 1, max: 1 },
  async run({ flags, args, client, io }) {
    const whole = flags["no-trunc"];
    const results = await (await client()).images.search(args[0] as string, { limit: flags.limit, filters: parseFilters(flags.filter) });
    const rows = results.map(({ name, description, star_count: stars, is_official: official }) => {
      const text = description.replace(/[\r\n]+/g, " ");
      return { Name: name, Description: whole ? text : ellipsis(text, 45), StarCount: String(stars), IsOfficial: official ? "[OK]" : "" };
    });
    await writeList(io.out, rows, format, { format: flags.format, whole });
  },
});
