import { isNotFound } from "../../client/errors.ts";
import { defineCommand } from "../command.ts";
import { describe } from "../describe.ts";

export const rm = defineCommand({
  name: "image rm",
  aliases: ["rmi", "image remove"],
  summary: "Remove one or more images",
  usage: "IMAGE [IMAGE...]",
  flags: {
    force: { type: "bool", short: "f", help: "Force removal of the image" },
    "no-prune": { type: "bool", help: "Do not delete untagged parents" },
    platform: { type: "csv", help: "Remove only the given platforms, from every name that has them (os[/arch[/variant]]); needs --force" },
  },
  args: { min: 1 },
  completes: "image",
  async run({ flags, args, client, io }) {
    const engine = await client();
    let code = 0;
    // One after the other: two names of one image must not race for who deletes it.
    for (const name of args) {
      try {
        const items = await engine.images.remove(name, { force: flags.force, noPrune: flags["no-prune"], platforms: flags.platform });
        await io.out.write(items.map(({ Untagged, Deleted }) => (Deleted ? `Deleted: ${Deleted}\n` : `Untagged: ${Untagged}\n`)).join(""));
      } catch (error) {
        if (!(flags.force && isNotFound(error))) code = 1;
        await io.err.write(`${describe(error)}\n`);
      }
    }
    return code;
  },
});
