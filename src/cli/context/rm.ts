import { rm as removeFolder } from "node:fs/promises";
import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";
import { CliError } from "../errors.ts";
import { currentContext, folderOf, readContext } from "./store.ts";

export const rm = defineCommand({
  name: "context rm",
  aliases: ["context remove"],
  summary: "Remove one or more contexts",
  usage: "CONTEXT [CONTEXT...]",
  flags: { force: { type: "bool", short: "f", help: "Force the removal of a context in use" } },
  args: { min: 1 },
  async run({ flags, args, io, config, env }) {
    const current = await currentContext(config, env);
    return forEach(io, args, async (name) => {
      if (name === "default") throw new CliError('context "default" cannot be removed');
      if (name === current && !flags.force) throw new CliError(`context ${JSON.stringify(name)} is in use, set -f flag to force remove`);
      if (!flags.force) await readContext(config, name);
      await removeFolder(folderOf(config, name, "meta"), { recursive: true, force: true });
      await removeFolder(folderOf(config, name, "tls"), { recursive: true, force: true });
      if ((await config.file()).currentContext === name) await config.save((file) => delete file.currentContext);
    });
  },
});
