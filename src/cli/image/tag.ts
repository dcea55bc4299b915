import { parseReference, repositoryOf, withDefaultTag } from "../../oci/reference.ts";
import { messageOf } from "../../lib/errors.ts";
import { defineCommand } from "../command.ts";
import { CliError } from "../errors.ts";

export const tag = defineCommand({
  name: "image tag",
  aliases: ["tag"],
  summary: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
  usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
  flags: {},
  args: { min: 2, max: 2 },
  completes: "image",
  async run({ args, client }) {
    const [source, target] = args as [string, string];
    const reference = parseTarget(target);
    if (reference.digest !== undefined) throw new CliError("refusing to create a tag with a digest reference");
    await (await client()).images.tag(source, { repo: repositoryOf(reference), tag: withDefaultTag(reference).tag as string });
  },
});

function parseTarget(target: string): ReturnType<typeof parseReference> {
  try {
    return parseReference(target);
  } catch (error) {
    throw new CliError(`Error parsing reference: ${JSON.stringify(target)} is not a valid repository/tag: ${messageOf(error)}`);
  }
}
