import { defineCommand } from "../command.ts";
import { openArchive } from "../archive.ts";
import { showProgress } from "../format/progress.ts";

export const load = defineCommand({
  name: "image load",
  aliases: ["load"],
  summary: "Load an image from a tar archive or standard input",
  usage: "",
  flags: {
    input: { type: "string", short: "i", help: "Read from tar archive file, instead of STDIN" },
    platform: { type: "csv", help: "Load only the given platforms (os[/arch[/variant]])" },
    quiet: { type: "bool", short: "q", help: "Suppress the load output" },
  },
  args: { min: 0, max: 0 },
  completes: "file",
  async run({ flags, client, io }) {
    const tar = await openArchive(io, flags.input);
    const quiet = flags.quiet || !io.out.isTty;
    const lines = await (await client()).images.load(tar, { quiet, platforms: flags.platform });
    await showProgress(lines, io.out, { rows: io.windowSize()?.rows });
  },
});
