import { defineCommand } from "../command.ts";
import { humanSize } from "../format/human.ts";
import { compareNatural } from "../format/natural.ts";
import { writeList, type ListFormat, type Row } from "../format/output.ts";
import { parseFilters } from "../parse/filters.ts";

const format: ListFormat = {
  headings: {
    Driver: "DRIVER",
    Name: "VOLUME NAME",
    Scope: "SCOPE",
    Mountpoint: "MOUNTPOINT",
    Labels: "LABELS",
    Links: "LINKS",
    Size: "SIZE",
    Availability: "AVAILABILITY",
    Group: "GROUP",
    Status: "STATUS",
  },
  columns: ["Driver", "Name"],
  shrinkable: ["Name"],
  quiet: "Name",
};

export const ls = defineCommand({
  name: "volume ls",
  aliases: ["volume list"],
  summary: "List volumes",
  usage: "",
  flags: {
    filter: { type: "list", short: "f", help: 'Provide filter values (e.g. "dangling=true")', value: "filter" },
    format: { type: "string", help: "Format output: 'table', 'table TEMPLATE', 'json' or a Go template" },
    quiet: { type: "bool", short: "q", help: "Only display volume names" },
  },
  args: { min: 0, max: 0 },
  async run({ flags, client, io, config }) {
    const [engine, { volumesFormat }] = await Promise.all([client(), config.file()]);
    const { Volumes: volumes } = await engine.volumes.list(parseFilters(flags.filter));
    const rows = [...(volumes ?? [])]
      .sort((a, b) => compareNatural(a.Name, b.Name))
      .map((volume): Row => {
        const labels = volume.Labels ?? {};
        return {
          Driver: volume.Driver,
          Name: volume.Name,
          Scope: volume.Scope,
          Mountpoint: volume.Mountpoint,
          Labels: Object.entries(labels)
            .map(([key, value]) => `${key}=${value}`)
            .join(","),
          Label: (name: unknown) => labels[String(name)] ?? "",
          Links: volume.UsageData ? String(volume.UsageData.RefCount) : "N/A",
          Size: volume.UsageData ? humanSize(volume.UsageData.Size) : "N/A",
          Availability: "N/A",
          Group: "N/A",
          Status: "N/A",
        };
      });
    await writeList(io.out, rows, format, { format: flags.format || (flags.quiet ? "" : (volumesFormat ?? "")), quiet: flags.quiet });
  },
});
