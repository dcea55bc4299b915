import { familiarReference, parseReference, repositoryOf, withDefaultTag } from "../../oci/reference.ts";
import { defineCommand } from "../command.ts";
import { CliError } from "../errors.ts";

export const commit = defineCommand({
  name: "container commit",
  aliases: ["commit"],
  summary: "Create a new image from a container's changes",
  usage: "CONTAINER [REPOSITORY[:TAG]]",
  flags: {
    author: { type: "string", short: "a", help: 'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")' },
    change: { type: "list", short: "c", help: "Apply Dockerfile instruction to the created image" },
    message: { type: "string", short: "m", help: "Commit message" },
    "no-pause": { type: "bool", help: "Disable pausing container during commit" },
    pause: { type: "bool", short: "p", help: "Pause container during commit", default: "true", hidden: true },
  },
  args: { min: 1, max: 2 },
  completes: "container",
  async run({ flags, args, client, io }) {
    const [container, name] = args as [string, string | undefined];
    const reference = name === undefined ? undefined : withDefaultTag(parseReference(name));
    if (reference?.digest !== undefined) throw new CliError(`invalid reference format: ${familiarReference(reference)} has a digest`);
    const { Id: id } = await (
      await client()
    ).containers.commit(container, {
      ...(reference === undefined ? {} : { repo: repositoryOf(reference), tag: reference.tag as string }),
      author: flags.author || undefined,
      comment: flags.message || undefined,
      changes: flags.change,
      pause: flags.pause && !flags["no-pause"],
    });
    await io.out.write(`${id}\n`);
  },
});
