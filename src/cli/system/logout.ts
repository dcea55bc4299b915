import { defineCommand } from "../command.ts";
import { eraseCredentials, hostOf, hubServer } from "../credentials.ts";

export const logout = defineCommand({
  name: "logout",
  summary: "Log out from a registry",
  usage: "[SERVER]",
  flags: {},
  args: { min: 0, max: 1 },
  async run({ args, io, config }) {
    const server = args[0] === undefined || ["docker.io", "index.docker.io"].includes(hostOf(args[0])) ? hubServer : hostOf(args[0]);
    if (await eraseCredentials(config, server)) await io.out.write(`Removing login credentials for ${server}\n`);
    else await io.out.write(`Not logged in to ${server}\n`);
  },
});
