import { defineCommand } from "../command.ts";
import { writeArchive } from "../archive.ts";

export const exportContainer = defineCommand({
  name: "container export",
  aliases: ["export"],
  summary: "Export a container's file system as a tar archive",
  usage: "CONTAINER",
  flags: { output: { type: "string", short: "o", help: "Write to a file, instead of STDOUT" } },
  args: { min: 1, max: 1 },
  completes: "container",
  async run({ flags, args, client, io }) {
    await writeArchive(io, flags.output, async () => (await client()).containers.export(args[0] as string));
  },
});
