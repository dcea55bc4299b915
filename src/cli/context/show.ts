import { defineCommand } from "../command.ts";
import { currentContext } from "./store.ts";

export const show = defineCommand({
  name: "context show",
  summary: "Print the name of the current context",
  usage: "",
  flags: {},
  args: { min: 0, max: 0 },
  async run({ io, config, env }) {
    await io.out.write(`${await currentContext(config, env)}\n`);
  },
});
