import { defineCommand } from "../command.ts";
import { compareNatural } from "../format/natural.ts";
import { writeList, type ListFormat, type Row } from "../format/output.ts";
import { parseFilters } from "../parse/filters.ts";

const format: ListFormat = {
  headings: {
    ID: "NETWORK ID",
    Name: "NAME",
    Driver: "DRIVER",
    Scope: "SCOPE",
    IPv4: "IPV4",
    IPv6: "IPV6",
    Internal: "INTERNAL",
    Labels: "LABELS",
    CreatedAt: "CREATED AT",
  },
  columns: ["ID", "Name", "Driver", "Scope"],
  shrinkable: ["Name"],
  quiet: "ID",
};

export const ls = defineCommand({
  name: "network ls",
  aliases: ["network list"],
  summary: "List networks",
  usage: "",
  flags: {
    filter: { type: "list", short: "f", help: 'Provide filter values (e.g. "driver=bridge")', value: "filter" },
    format: { type: "string", help: "Format output: 'table', 'table TEMPLATE', 'json' or a Go template" },
    "no-trunc": { type: "bool", help: "Do not truncate the output" },
    quiet: { type: "bool", short: "q", help: "Only display network IDs" },
  },
  args: { min: 0, max: 0 },
  async run({ flags, client, io, config }) {
    const [engine, { networksFormat }] = await Promise.all([client(), config.file()]);
    const networks = await engine.networks.list(parseFilters(flags.filter));
    const whole = flags["no-trunc"];
    const rows = networks
      .sort((a, b) => compareNatural(a.Name, b.Name))
      .map((network): Row => {
        const labels = network.Labels ?? {};
        return {
          ID: whole ? network.Id : network.Id.slice(0, 12),
          Name: network.Name,
          Driver: network.Driver,
          Scope: network.Scope,
          IPv4: String(network.EnableIPv4 ?? true),
          IPv6: String(network.EnableIPv6),
          Internal: String(network.Internal),
          Labels: Object.entries(labels)
            .map(([key, value]) => `${key}=${value}`)
            .join(","),
          Label: (name: unknown) => labels[String(name)] ?? "",
          CreatedAt: network.Created,
        };
      });
    await writeList(io.out, rows, format, { format: flags.format || (flags.quiet ? "" : (networksFormat ?? "")), quiet: flags.quiet, whole });
  },
});
