import { defineCommand } from "../command.ts";
import { readContext } from "./store.ts";

export const use = defineCommand({
  name: "context use",
  summary: "Set the current context",
  usage: "CONTEXT",
  flags: {},
  args: { min: 1, max: 1 },
  async run({ args, io, config, env }) {
    const name = args[0] as string;
    if (name !== "default") await readContext(config, name);
    await config.save((file) => {
      if (name === "default") delete file.currentContext;
      else file.currentContext = name;
    });
    const override = ["BERTH_HOST", "DOCKER_HOST", "DOCKER_CONTEXT"].find((variable) => env[variable]);
    await io.out.write(`${name}\n`);
    await io.err.write(`Current context is now ${JSON.stringify(name)}\n`);
    if (override !== undefined)
      await io.err.write(`Warning: ${override} environment variable overrides the active context. To use ${JSON.stringify(name)}, unset it.\n`);
  },
});
