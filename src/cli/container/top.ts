import { defineCommand } from "../command.ts";
import { formatTable } from "../format/table.ts";

export const top = defineCommand({
  name: "container top",
  aliases: ["top"],
  summary: "Display the running processes of a container",
  usage: "CONTAINER [ps OPTIONS]",
  flags: {},
  args: { min: 1 },
  interspersed: false,
  completes: "container",
  async run({ args, client, io }) {
    const [container, ...options] = args as [string, ...string[]];
    const { Titles: titles, Processes: processes } = await (await client()).containers.top(container, options.join(" "));
    await io.out.write(formatTable([titles, ...(processes ?? [])], { minimum: 20 }));
  },
});
