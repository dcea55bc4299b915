import { defineCommand } from "../command.ts";

export const stopAll = defineCommand({
  name: "system stop",
  summary: "Stop all containers, as at the host's shutdown",
  usage: "",
  flags: { timeout: { type: "int", short: "t", help: "Seconds to wait for containers that set none (default: the engine's shutdown-timeout)" } },
  args: { min: 0, max: 0 },
  async run({ flags, client, given }) {
    await (await client()).system.stopAll(given("timeout") ? flags.timeout : undefined);
  },
});
