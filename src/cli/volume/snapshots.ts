import { defineCommand } from "../command.ts";
import { writeList, type ListFormat, type Row } from "../format/output.ts";

/** The engine's label of snapshots. */
const LABEL = "berth.snapshot.of";

const format: ListFormat = {
  headings: { Name: "SNAPSHOT", Volume: "VOLUME", CreatedAt: "CREATED", Mountpoint: "MOUNTPOINT" },
  columns: ["Name", "Volume", "CreatedAt"],
  shrinkable: ["Name"],
  quiet: "Name",
};

export const snapshots = defineCommand({
  name: "volume snapshots",
  summary: "List snapshots of volumes",
  usage: "[VOLUME...]",
  flags: {
    format: { type: "string", help: "Format output: 'table', 'table TEMPLATE', 'json' or a Go template" },
    quiet: { type: "bool", short: "q", help: "Only display names of snapshots" },
  },
  args: { min: 0 },
  completes: "volume",
  async run({ flags, args, client, io }) {
    const { Volumes: volumes } = await (await client()).volumes.list({ label: [LABEL] });
    const rows = [...(volumes ?? [])]
      .map((volume): Row => ({ Name: volume.Name, Volume: volume.Labels?.[LABEL] ?? "", CreatedAt: volume.CreatedAt ?? "", Mountpoint: volume.Mountpoint }))
      .filter(({ Volume: volume }) => args.length === 0 || args.includes(String(volume)))
      .sort((a, b) => (`${a["Volume"]} ${a["CreatedAt"]} ${a["Name"]}` < `${b["Volume"]} ${b["CreatedAt"]} ${b["Name"]}` ? -1 : 1));
    await writeList(io.out, rows, format, { format: flags.format, quiet: flags.quiet });
  },
});
