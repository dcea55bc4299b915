import { parseReference, repositoryOf, withDefaultTag } from "../../oci/reference.ts";
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
    const reference = parseReference(target);
    if (reference.digest !== undefined) throw new CliError("refusing to create a tag with a digest reference");
    await (await client()).images.tag(source, { repo: repositoryOf(reference), tag: withDefaultTag(reference).tag as string });
  },
});
