import { defineCommand } from "../command.ts";
import { keyValues } from "../parse/env.ts";
import { showCopying } from "./copying.ts";

export const clone = defineCommand({
  name: "volume clone",
  summary: "Copy a volume",
  description: `Makes a volume with the same files: owners, modes, times, extended attributes, links and holes as they are. Where the file system can (xfs,
btrfs), both share their blocks until one of them writes. Labels go along, but for those of Compose.`,
  usage: "VOLUME NEW_VOLUME",
  flags: {
    label: { type: "list", help: "Set metadata for the new volume" },
    pause: { type: "bool", short: "p", help: "Freeze containers that write to the volume while it is copied" },
  },
  args: { min: 2, max: 2 },
  completes: "volume",
  async run({ flags, args, client, io }) {
    const [from = "", to = ""] = args;
    await showCopying(io, await (await client()).volumes.clone(from, to, { labels: keyValues(flags.label), pause: flags.pause }));
  },
});
