import { defineCommand } from "../command.ts";

export const rename = defineCommand({
  name: "volume rename",
  summary: "Rename a volume",
  description:
    "Running containers go on with it, and all containers know it by its new name. A volume without a name (an anonymous one) becomes one with a name.",
  usage: "VOLUME NEW_NAME",
  flags: {},
  args: { min: 2, max: 2 },
  completes: "volume",
  async run({ args, client, io }) {
    const [from = "", to = ""] = args;
    const { Name: name } = await (await client()).volumes.rename(from, to);
    await io.out.write(`${name}\n`);
  },
});
