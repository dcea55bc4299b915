import { defineCommand } from "../command.ts";
import { keyValues } from "../parse/env.ts";
import { showCopying } from "./copying.ts";

export const snapshot = defineCommand({
  name: "volume snapshot",
  summary: "Make a snapshot of a volume",
  description: `A snapshot is a read-only volume: containers can have it mounted, it can be exported and cloned, "volume rm" removes it, "volume prune" leaves it.
Without a name it is VOLUME.date-time. "volume restore" gives the volume its files again.`,
  usage: "VOLUME [NAME]",
  flags: {
    label: { type: "list", help: "Set metadata for the snapshot" },
    pause: { type: "bool", short: "p", help: "Freeze containers that write to the volume while it is copied" },
  },
  args: { min: 1, max: 2 },
  completes: "volume",
  async run({ flags, args, client, io }) {
    const [volume = "", name = ""] = args;
    await showCopying(io, await (await client()).volumes.snapshot(volume, name, { labels: keyValues(flags.label), pause: flags.pause }));
  },
});
