import { parseReference, repositoryOf, withDefaultTag } from "../../oci/reference.ts";
import { defineCommand } from "../command.ts";
import { openArchive } from "../archive.ts";
import { showProgress } from "../format/progress.ts";

export const importImage = defineCommand({
  name: "image import",
  aliases: ["import"],
  summary: "Import the contents from a tar archive to create an image",
  usage: "file|URL|- [REPOSITORY[:TAG]]",
  flags: {
    change: { type: "list", short: "c", help: "Apply Dockerfile instruction to the created image" },
    message: { type: "string", short: "m", help: "Set commit message for imported image" },
    platform: { type: "string", help: "Set platform if server is multi-platform capable" },
  },
  args: { min: 1, max: 2 },
  completes: "file",
  async run({ flags, args, client, io }) {
    const [source, name] = args as [string, string | undefined];
    const reference = name === undefined ? undefined : withDefaultTag(parseReference(name));
    const from = /^https?:\/\//.test(source) ? { url: source } : { tar: await openArchive(io, source) };
    const lines = await (
      await client()
    ).images.import(from, {
      ...(reference === undefined ? {} : { repo: repositoryOf(reference), tag: reference.tag }),
      message: flags.message,
      changes: flags.change,
      platform: flags.platform,
    });
    await showProgress(lines, io.out, { rows: io.windowSize()?.rows });
  },
});
