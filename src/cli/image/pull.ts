import type { Client } from "../../client/client.ts";
import { formatReference, parseReference, repositoryOf, withDefaultTag } from "../../oci/reference.ts";
import { defineCommand } from "../command.ts";
import type { CliConfig } from "../config.ts";
import { credentialsOrNone, serverOf } from "../credentials.ts";
import { CliError } from "../errors.ts";
import { showProgress } from "../format/progress.ts";
import type { Sink } from "../io.ts";

export const pull = defineCommand({
  name: "image pull",
  aliases: ["pull"],
  summary: "Download an image from a registry",
  usage: "NAME[:TAG|@DIGEST]",
  flags: {
    "all-tags": { type: "bool", short: "a", help: "Download all tagged images in the repository" },
    platform: { type: "string", help: "Set platform if server is multi-platform capable" },
    quiet: { type: "bool", short: "q", help: "Suppress verbose output" },
  },
  args: { min: 1, max: 1 },
  completes: "image",
  async run({ flags, args, client, io, config }) {
    const image = args[0] as string;
    const reference = parseReference(image);
    const bare = reference.tag === undefined && reference.digest === undefined;
    if (flags["all-tags"] && !bare) throw new CliError("tag can't be used with --all-tags/-a");
    if (!flags["all-tags"] && bare && !flags.quiet) await io.out.write("Using default tag: latest\n");
    const { platform, quiet } = flags;
    await pullImage({
      client: await client(),
      config,
      image,
      platform,
      sink: io.out,
      err: io.err,
      quiet,
      allTags: flags["all-tags"],
      rows: io.windowSize()?.rows,
    });
    await io.out.write(`${flags["all-tags"] ? repositoryOf(reference) : formatReference(withDefaultTag(reference))}\n`);
  },
});

export interface PullOptions {
  client: Client;
  config: CliConfig;
  image: string;
  platform: string;
  /** Where progress goes. */
  sink: Sink;
  /** For warnings. */
  err: Sink;
  quiet: boolean;
  allTags?: boolean;
  rows?: number;
}

/** Pulls and shows how it goes. @throws CliError with the registry's or the engine's reason */
export async function pullImage({ client, config, image, platform, sink, err, quiet, allTags = false, rows }: PullOptions): Promise<void> {
  const parsed = parseReference(image);
  const reference = allTags ? parsed : withDefaultTag(parsed);
  const lines = await client.images.pull(repositoryOf(reference), {
    tag: reference.digest ?? reference.tag,
    platform,
    auth: await credentialsOrNone(config, serverOf(image), err),
  });
  await showProgress(lines, quiet ? silence : sink, { rows });
}

/** Takes progress and shows none; errors are still thrown. */
const silence: Sink = { write: async () => {}, isTty: false, columns: () => 0, colours: false };
