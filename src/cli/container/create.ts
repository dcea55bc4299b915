import { defineCommand } from "../command.ts";
import { createContainer } from "./create-container.ts";
import { containerFlags } from "./flags.ts";
import { createRequest } from "./request.ts";

export const create = defineCommand({
  name: "container create",
  aliases: ["create"],
  summary: "Create a new container",
  usage: "IMAGE [COMMAND] [ARG...]",
  flags: containerFlags,
  args: { min: 1 },
  interspersed: false,
  completes: "image",
  failureCode: 125,
  async run(context) {
    const { args, io } = context;
    const [image, ...command] = args as [string, ...string[]];
    const request = await createRequest({ ...context, image, command, config: await context.config.file(), windowSize: io.windowSize() });
    await io.out.write(`${await createContainer(context, await context.client(), request)}\n`);
  },
});
