import { defineCommand } from "../command.ts";
import { confirm } from "../confirm.ts";
import { showCopying } from "./copying.ts";

export const restore = defineCommand({
  name: "volume restore",
  summary: "Give a volume the files of a snapshot",
  description:
    "What is in the volume goes, in one step, once the snapshot's files are all there. No container may run with it. A volume that is gone is made again.",
  usage: "SNAPSHOT",
  flags: {
    force: { type: "bool", short: "f", help: "Do not prompt for confirmation" },
    to: { type: "string", help: "Another volume than the one that the snapshot is of", value: "volume" },
  },
  args: { min: 1, max: 1 },
  completes: "volume",
  async run({ flags, args, client, io }) {
    const [snapshot = ""] = args;
    if (!flags.force)
      await confirm(
        io,
        `WARNING! This will replace all that is in ${flags.to === "" ? `the volume that ${snapshot} is a snapshot of` : `volume ${flags.to}`}.`,
      );
    await showCopying(io, await (await client()).volumes.restore(snapshot, flags.to));
  },
});
