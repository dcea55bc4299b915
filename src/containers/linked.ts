import { conflict, messageOf } from "../lib/errors.ts";
import type { LinkOptions, PublishedPort } from "../networks/types.ts";
import type { ContainerConfig, HostConfig } from "../oci/container.ts";
import { changeFile } from "../sandbox/files.ts";
import { changeRecord, lookup, lookupPartner, tryLookup, type Context, type Entry } from "./context.ts";
import { bridgeLinks, parseLink } from "./links.ts";
import type { ContainerRecord } from "./types.ts";

/** One container that is linked, on the default bridge, where it runs. */
interface Linked {
  alias: string;
  record: ContainerRecord;
  addresses: string[];
}

/** Links on the default bridge, which has no name service. @throws EngineError conflict, notFound */
function linkedOf(ctx: Context, record: ContainerRecord, ifAbsent: "fail" | "skip"): Linked[] {
  return bridgeLinks(record).flatMap(({ alias, reference }) => {
    const entry = ifAbsent === "skip" ? tryLookup(ctx, reference) : lookup(ctx, reference);
    const addresses = entry === undefined ? [] : addressesOf(ctx, entry.record);
    if (entry?.sandbox !== undefined && addresses.length > 0) return [{ alias, record: entry.record, addresses }];
    if (ifAbsent === "skip") return [];
    throw conflict(`Cannot link to a non running container: /${entry?.record.name} AS /${record.name}/${alias}`);
  });
}

function addressesOf(ctx: Context, { id }: ContainerRecord): string[] {
  const endpoint = ctx.networks.endpointsOfContainer(id).find(({ networkName }) => networkName === "bridge");
  return [endpoint?.ipv4, endpoint?.ipv6].filter((address) => address !== undefined);
}

/** Whom a container's links mean; on other networks a link is but a name, looked up when it is asked for. @throws EngineError invalidArgument */
export function linkedIds(ctx: Context, { Links, NetworkMode }: HostConfig): Record<string, string> | undefined {
  if (NetworkMode !== "bridge" || !Links || Links.length === 0) return undefined;
  return Object.fromEntries(
    Links.map(parseLink).map(({ container, alias }) => [alias, lookupPartner(ctx, container, `could not get container for ${container}: `).record.id]),
  );
}

/** What containers are called within those that are linked to them, by id: `/web/db`. Docker lists it beside their own names. */
export function linkNames(ctx: Context): Map<string, string[]> {
  const names = new Map<string, string[]>();
  for (const { record } of ctx.entries.values()) {
    if (record.linked === undefined) continue;
    for (const { alias, reference } of bridgeLinks(record)) names.set(reference, [...(names.get(reference) ?? []), `/${record.name}/${alias}`]);
  }
  return names;
}

/** Containers that are linked to container `id`, and what it is called there. */
function* parentsOf(ctx: Context, id: string): Generator<{ parent: Entry; aliases: string[] }> {
  for (const parent of ctx.entries.values()) {
    const { linked } = parent.record;
    if (linked === undefined) continue;
    const aliases = Object.keys(linked).filter((alias) => linked[alias] === id);
    if (aliases.length > 0) yield { parent, aliases };
  }
}

/** A container has a new name: the links to it say so. */
export function renameInLinks(ctx: Context, id: string, name: string): void {
  for (const { parent, aliases } of parentsOf(ctx, id)) {
    const { host } = parent.record;
    const links = (host.Links ?? []).map((link) => {
      const { alias } = parseLink(link);
      return aliases.includes(alias) ? `${name}:${alias}` : link;
    });
    changeRecord(ctx, parent, { host: { ...host, Links: links } });
  }
}

/** What links add to a container: lines of /etc/hosts as `names:address`, and Docker's variables. @throws EngineError conflict, notFound */
export function linkSettings(ctx: Context, record: ContainerRecord, ifAbsent: "fail" | "skip" = "fail"): { hosts: string[]; env: string[] } {
  const linked = linkedOf(ctx, record, ifAbsent);
  return {
    hosts: linked.flatMap(({ alias, record: { config, name }, addresses }) => {
      const names = [...new Set([alias, config.Hostname ?? "", name])].filter((each) => each !== "").join(" ");
      return addresses.map((address) => `${names}:${address}`);
    }),
    env: linked.flatMap((each) => linkVariables(record.name, each.alias, each.addresses[0] ?? "", each.record.config)),
  };
}

/** As Docker makes them (moby, daemon/links/links.go): each port, ports that follow one another as a range, and the linked container's own variables. */
export function linkVariables(
  parent: string,
  alias: string,
  address: string,
  { ExposedPorts, Env }: { ExposedPorts?: Record<string, object> | null; Env?: string[] | null },
): string[] {
  const prefix = alias.toUpperCase().replaceAll("-", "_");
  const ports = exposedPorts({ ExposedPorts }).sort((a, b) => a.port - b.port || (a.proto === "tcp" ? -1 : b.proto === "tcp" ? 1 : 0));
  const url = ({ port, proto }: { port: number; proto: string }): string => `${proto}://${address}:${port}`;
  const nameOf = ({ port, proto }: { port: number; proto: string }): string => `${prefix}_PORT_${port}_${proto.toUpperCase()}`;
  const env = ports.slice(0, 1).map((port) => `${prefix}_PORT=${url(port)}`);
  for (const port of ports) {
    const name = nameOf(port);
    env.push(`${name}=${url(port)}`, `${name}_ADDR=${address}`, `${name}_PORT=${port.port}`, `${name}_PROTO=${port.proto}`);
  }
  const byProto = ports.toSorted((a, b) => (a.proto < b.proto ? -1 : a.proto > b.proto ? 1 : 0));
  for (const [start, end] of ranges(byProto)) {
    const name = nameOf(start);
    env.push(`${name}_START=${url(start)}`, `${name}_PORT_START=${start.port}`, `${name}_END=${url(end)}`, `${name}_PORT_END=${end.port}`);
  }
  env.push(`${prefix}_NAME=/${parent}/${alias}`);
  for (const variable of Env ?? []) {
    const at = variable.indexOf("=");
    if (at < 0 || ["HOME", "PATH"].includes(variable.slice(0, at))) continue;
    env.push(`${prefix}_ENV_${variable}`);
  }
  return env;
}

function exposedPorts({ ExposedPorts }: Pick<ContainerConfig, "ExposedPorts">): LinkOptions["ports"][number][] {
  return Object.keys(ExposedPorts ?? {}).map((text) => ({ port: Number.parseInt(text, 10), proto: (text.split("/")[1] ?? "tcp") as PublishedPort["proto"] }));
}

/** First and last of ports that follow one another; single ones are none. */
function ranges(ports: readonly { port: number; proto: string }[]): [(typeof ports)[number], (typeof ports)[number]][] {
  const found: [(typeof ports)[number], (typeof ports)[number]][] = [];
  for (const port of ports) {
    const last = found.at(-1);
    if (last !== undefined && last[1].proto === port.proto && last[1].port + 1 === port.port) last[1] = port;
    else found.push([port, port]);
  }
  return found.filter(([start, end]) => start !== end);
}

/** Where the default network keeps its containers apart, links lead through: a container's own, and those of others to it. */
export function openLinks(ctx: Context, record: ContainerRecord): void {
  if (!Object.hasOwn(record.endpoints, "bridge")) return;
  const open = (from: ContainerRecord, to: ContainerRecord): void => ctx.networks.openLink({ from: from.id, to: to.id, ports: exposedPorts(to.config) });
  for (const { reference } of bridgeLinks(record)) {
    const to = tryLookup(ctx, reference);
    if (to !== undefined) open(record, to.record);
  }
  for (const { parent } of parentsOf(ctx, record.id)) if (parent.sandbox !== undefined) open(parent.record, record);
}

/** A container has come up: those that are linked to it and run learn its address, as in Docker. */
export function tellLinkedParents(ctx: Context, record: ContainerRecord): void {
  if (!Object.hasOwn(record.endpoints, "bridge")) return;
  for (const { parent, aliases } of parentsOf(ctx, record.id)) {
    if (parent.sandbox === undefined || !Object.hasOwn(parent.record.endpoints, "bridge")) continue;
    for (const alias of aliases) renewHosts(ctx, parent.record, alias, addressesOf(ctx, record));
  }
}

function renewHosts(ctx: Context, parent: ContainerRecord, alias: string, addresses: readonly string[]): void {
  const line = new RegExp(`^(\\S+)(\\t${RegExp.escape(alias)}(?:[ \\n]))`, "gm");
  changeHosts(ctx, parent, (text) =>
    text.replace(line, (before, old: string, rest: string) => {
      const address = addresses.find((each) => each.includes(":") === old.includes(":"));
      return address === undefined ? before : `${address}${rest}`;
    }),
  );
}

/** Takes a link's name out of a container's /etc/hosts. */
export function forgetLinked(ctx: Context, parent: ContainerRecord, alias: string): void {
  const line = new RegExp(`^\\S+\\t${RegExp.escape(alias)}(?: .*)?\\n`, "gm");
  changeHosts(ctx, parent, (text) => text.replace(line, ""));
}

function changeHosts(ctx: Context, { id }: ContainerRecord, change: (text: string) => string): void {
  try {
    changeFile(ctx.paths.container(id), "hosts", change);
  } catch (error) {
    ctx.log.warn("changing a container's /etc/hosts for a link", { container: id, error: messageOf(error) });
  }
}
