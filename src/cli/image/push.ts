import { familiarName, parseReference, repositoryOf, withDefaultTag } from "../../oci/reference.ts";
import { defineCommand } from "../command.ts";
import { credentialsOrNone, serverOf } from "../credentials.ts";
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
      auth: await credentialsOrNone(config, serverOf(image), io.err),
    });
    const sink = flags.quiet ? { ...io.out, isTty: false, write: async () => {} } : io.out;
    const notes: string[] = [];
    await showProgress(lines, sink, { rows: io.windowSize()?.rows, onAux: (aux) => void notes.push(...noteOf(aux)) });
    if (!flags.quiet) await io.out.write(notes.join(""));
    if (flags.quiet) await io.out.write(`${repositoryOf(reference)}${reference.tag === undefined ? "" : `:${reference.tag}`}\n`);
  },
});

/** What Docker's engines say beside the progress: that an index wasn't pushed as a whole. */
function noteOf(aux: unknown): string[] {
  const { manifestPushedInsteadOfIndex: instead, selectedManifest: manifest } = (aux ?? {}) as Record<string, unknown>;
  if (instead !== true) return [];
  const { digest } = (manifest ?? {}) as { digest?: unknown };
  return [`Not all platforms of the image are here: only the one with digest ${String(digest)} was pushed, not the index\n`];
}
