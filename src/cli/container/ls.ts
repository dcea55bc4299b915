import type { ContainerSummary, PortSummary } from "../../client/types.ts";
import { defineCommand } from "../command.ts";
import { parseFilters } from "../parse/filters.ts";
import { ago, ellipsis, goTime, humanSize } from "../format/human.ts";
import { writeList, type ListFormat, type Row } from "../format/output.ts";

const format: ListFormat = {
  headings: {
    ID: "CONTAINER ID",
    Image: "IMAGE",
    Command: "COMMAND",
    RunningFor: "CREATED",
    CreatedAt: "CREATED AT",
    Status: "STATUS",
    State: "STATE",
    Ports: "PORTS",
    Names: "NAMES",
    Size: "SIZE",
    Labels: "LABELS",
    Mounts: "MOUNTS",
    LocalVolumes: "LOCAL VOLUMES",
    Networks: "NETWORKS",
    HealthStatus: "HEALTH",
  },
  columns: ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"],
  shrinkable: ["Ports", "Image", "Command", "Names", "Status"],
  quiet: "ID",
};

export const ls = defineCommand({
  name: "container ls",
  aliases: ["ps", "container list", "container ps"],
  summary: "List containers",
  usage: "",
  flags: {
    all: { type: "bool", short: "a", help: "Show all containers (default shows just running)" },
    filter: { type: "list", short: "f", help: "Filter output based on conditions provided", value: "filter" },
    format: { type: "string", help: "Format output: 'table', 'table TEMPLATE', 'json' or a Go template" },
    last: { type: "int", short: "n", help: "Show n last created containers (includes all states)", default: "-1" },
    latest: { type: "bool", short: "l", help: "Show the latest created container (includes all states)" },
    "no-trunc": { type: "bool", help: "Don't truncate output" },
    quiet: { type: "bool", short: "q", help: "Only display container IDs" },
    size: { type: "bool", short: "s", help: "Display total file sizes" },
  },
  args: { min: 0, max: 0 },
  async run({ flags, client, io, config }) {
    const [engine, { psFormat }] = await Promise.all([client(), config.file()]);
    const template = flags.format || (flags.quiet ? "" : (psFormat ?? ""));
    const size = flags.size || /\.Size\b|json \.\s*\}/.test(template);
    const limit = flags.latest ? 1 : flags.last > 0 ? flags.last : undefined;
    const containers = await engine.containers.list({ all: flags.all || limit !== undefined, limit, size, filters: parseFilters(flags.filter) });
    const whole = flags["no-trunc"];
    const rows = containers.map((container) => containerRow(container, whole));
    const columns = flags.size ? [...format.columns, "Size"] : format.columns;
    await writeList(io.out, rows, { ...format, columns }, { format: template, quiet: flags.quiet, whole });
  },
});

function containerRow(container: ContainerSummary, whole: boolean): Row {
  const labels = container.Labels ?? {};
  const mounts = (container.Mounts ?? []).map(({ Name, Source }) => Name || Source || "");
  const command = JSON.stringify(whole ? container.Command : ellipsis(container.Command, 20));
  return {
    ID: whole ? container.Id : container.Id.slice(0, 12),
    Image: container.Image === "" ? "<no image>" : whole ? container.Image : shortImage(container),
    Command: command,
    // Reading the time zone costs 5 ms: only for those who ask.
    get CreatedAt() {
      return goTime(container.Created * 1000);
    },
    RunningFor: ago(container.Created),
    Ports: portsText(container.Ports ?? []),
    State: container.State,
    Status: container.Status,
    Size: sizeText(container),
    Names: containerNames(container.Names, whole).join(","),
    Labels: Object.entries(labels)
      .map(([key, value]) => `${key}=${value}`)
      .join(","),
    Label: (name: unknown) => labels[String(name)] ?? "",
    Mounts: mounts.map((mount) => (whole ? mount : ellipsis(mount, 15))).join(","),
    LocalVolumes: String((container.Mounts ?? []).filter(({ Driver }) => Driver === "local").length),
    Networks: Object.keys(container.NetworkSettings?.Networks ?? {}).join(","),
    HealthStatus: container.Health?.Status ?? "",
  };
}

/** An image without a name shows as its id, shortened. */
function shortImage({ Image: image, ImageID: id }: ContainerSummary): string {
  const bare = image.replace(/^sha256:/, "");
  if (/^[0-9a-f]{64}$/.test(bare) && id.endsWith(bare)) return bare.slice(0, 12);
  return image.replace(/@sha256:[0-9a-f]{64}$/, "");
}

/** Without the slash; names by way of links (`/other/alias`) only untruncated. */
function containerNames(names: readonly string[], whole: boolean): string[] {
  const bare = names.map((name) => name.replace(/^\//, ""));
  return whole ? bare : bare.filter((name) => !name.includes("/"));
}

function sizeText({ SizeRw: own = 0, SizeRootFs: all = 0 }: ContainerSummary): string {
  return all > 0 ? `${humanSize(own, 3)} (virtual ${humanSize(all, 3)})` : humanSize(own, 3);
}

/** `0.0.0.0:8080->80/tcp, 9000-9002/tcp`: neighbours with the same offset are drawn together, as Docker does. */
export function portsText(ports: readonly PortSummary[]): string {
  const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
  const sorted = [...ports].sort(
    (a, b) => a.PrivatePort - b.PrivatePort || order(a.IP ?? "", b.IP ?? "") || (a.PublicPort ?? 0) - (b.PublicPort ?? 0) || order(a.Type, b.Type),
  );
  interface Group {
    key: string;
    host: string;
    type: string;
    from: number;
    to: number;
    publicFrom: number | undefined;
  }
  const groups: Group[] = [];
  for (const { IP: ip, PrivatePort: inside, PublicPort: outside, Type: type } of sorted) {
    const host = ip === undefined || ip === "" ? "" : ip.includes(":") ? `[${ip}]` : ip;
    const key = outside === undefined ? type : `${host}/${type}/${outside - inside}`;
    const open = groups.findLast((group) => group.key === key);
    if (open !== undefined && inside === open.to + 1) open.to = inside;
    else if (open === undefined || inside !== open.to) groups.push({ key, host, type, from: inside, to: inside, publicFrom: outside });
  }
  const range = (from: number, to: number): string => (from === to ? String(from) : `${from}-${to}`);
  return groups
    .map(({ host, type, from, to, publicFrom }) => {
      if (publicFrom === undefined) return `${range(from, to)}/${type}`;
      return `${host}${host === "" ? "" : ":"}${range(publicFrom, publicFrom + to - from)}->${range(from, to)}/${type}`;
    })
    .join(", ");
}
