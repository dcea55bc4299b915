import { defineCommand } from "../command.ts";
import { writeArchive } from "../archive.ts";

export const save = defineCommand({
  name: "image save",
  aliases: ["save"],
  summary: "Save one or more images to a tar archive (to standard output by default)",
  usage: "IMAGE [IMAGE...]",
  flags: {
    output: { type: "string", short: "o", help: "Write to a file, instead of STDOUT" },
    platform: { type: "csv", help: "Save only the given platforms (os[/arch[/variant]])" },
  },
  args: { min: 1 },
  completes: "image",
  async run({ flags, args, client, io }) {
    await writeArchive(io, flags.output, async () => (await client()).images.save(args, { platforms: flags.platform }));
  },
});
