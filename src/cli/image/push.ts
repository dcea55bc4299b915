import { familiarName, parseReference, repositoryOf, withDefaultTag } from "../../oci/reference.ts";
import { defineCommand } from "../command.ts";
import { readCredentials, serverOf } from "../credentials.ts";
import { CliError } from "../errors.ts";
import { showProgress } from "../format/progress.ts";

export const push = defineCommand({
  name: "image push",
  aliases: ["push"],
  summary: "Upload an image to a registry",
  usage: "NAME[:TAG]",
  flags: {
    "all-tags": { type: "bool", short: "a", help: "Push all tags of an image to the repository" },
    platform: { type: "string", help: "Push a platform-specific manifest as a single-platform image to the registry" },
    quiet: { type: "bool", short: "q", help: "Suppress verbose output" },
  },
  args: { min: 1, max: 1 },
  completes: "image",
  async run({ flags, args, client, io, config }) {
    const image = args[0] as string;
    const parsed = parseReference(image);
    if (flags["all-tags"] && (parsed.tag !== undefined || parsed.digest !== undefined)) throw new CliError("tag can't be used with --all-tags/-a");
    const bare = parsed.tag === undefined && parsed.digest === undefined && !flags["all-tags"];
    if (bare && !flags.quiet) await io.out.write("Using default tag: latest\n");
    const reference = flags["all-tags"] ? parsed : withDefaultTag(parsed);
    const lines = await (
      await client()
    ).images.push(familiarName(reference), {
      tag: reference.tag,
      platform: flags.platform,
      auth: await readCredentials(config, serverOf(image)),
    });
    const sink = flags.quiet ? { ...io.out, isTty: false, write: async () => {} } : io.out;
    await showProgress(lines, sink, { rows: io.windowSize()?.rows });
    if (flags.quiet) await io.out.write(`${repositoryOf(reference)}${reference.tag === undefined ? "" : `:${reference.tag}`}\n`);
  },
});
