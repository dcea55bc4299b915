import { openArchive } from "../archive.ts";
import { defineCommand } from "../command.ts";
import { counted, withBar } from "./bar.ts";

export const importVolume = defineCommand({
  name: "volume import",
  summary: "Fill a volume from a tar archive",
  description:
    "From standard input where no file is named. The archive may be compressed (gzip, zstd and others). A volume that isn't there is made; it has all files or none.",
  usage: "VOLUME [FILE|-]",
  flags: {
    force: { type: "bool", short: "f", help: "Replace what is in the volume" },
    label: { type: "list", help: "Set metadata for a new volume" },
  },
  args: { min: 1, max: 2 },
  completes: "volume",
  async run({ flags, args, client, io }) {
    const [name = "", file = "-"] = args;
    const archive = await openArchive(io, file);
    const size = file === "-" ? 0 : Bun.file(file).size;
    const engine = await client();
    const volume = await withBar(io, name, "Importing", size, (count) =>
      engine.volumes.import(name, counted(archive, count), { force: flags.force, labels: flags.label }),
    );
    await io.out.write(`${volume.Name}\n`);
  },
});
