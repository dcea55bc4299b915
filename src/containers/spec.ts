import { conflict, invalidArgument, notFound } from "../lib/errors.ts";
import type { EndpointSettings } from "../oci/container.ts";
import type { ConnectOptions } from "../networks/types.ts";
import type { SandboxMount, SandboxNetwork, SandboxSpec } from "../sandbox/types.ts";
import { isRestarting, tryLookup, type Context } from "./context.ts";
import { linkSettings } from "./linked.ts";
import { statusOf } from "./list.ts";
import { effectiveBindings } from "./ports.ts";
import { joinedUserNamespace } from "./user-namespace.ts";
import type { ContainerRecord } from "./types.ts";
import { partnerNamed } from "./validate.ts";

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Docker's own variables, then the configured ones over them; a name without `=` removes it. */
export function environmentOf({ config }: ContainerRecord, more: { tty?: boolean; env?: string[]; links?: string[] } = {}): string[] {
  const variables = new Map<string, string>([
    ["PATH", `PATH=${defaultPath}`],
    ["HOSTNAME", `HOSTNAME=${config.Hostname ?? ""}`],
  ]);
  if (more.tty ?? config.Tty === true) variables.set("TERM", "TERM=xterm");
  for (const variable of [...(more.links ?? []), ...(config.Env ?? []), ...(more.env ?? [])]) {
    const at = variable.indexOf("=");
    if (at < 0) variables.delete(variable);
    else variables.set(variable.slice(0, at), variable);
  }
  return [...variables.values()];
}

/** All that the sandbox needs to know. @throws EngineError conflict, notFound where a namespace to be joined isn't there */
export function sandboxSpec(ctx: Context, record: ContainerRecord, mounts: SandboxMount[]): SandboxSpec {
  const base = specBase(ctx, record, linkSettings(ctx, record));
  return { ...base, mounts, network: networkOf(ctx, record), joined: joinedOf(ctx, record) };
}

/** The part that follows from the record alone: enough to adopt a container after a restart of the engine. */
export function specBase(ctx: Context, record: ContainerRecord, links: { hosts: string[]; env: string[] } = { hosts: [], env: [] }): SandboxSpec {
  return {
    id: record.id,
    name: record.name,
    directory: ctx.paths.container(record.id),
    layers: record.layers,
    active: record.snapshot,
    volatile: record.host.AutoRemove === true,
    config: record.config,
    host: {
      ...record.host,
      Init: record.host.Init ?? ctx.options.init,
      ExtraHosts: [...withGateways(record.host.ExtraHosts ?? [], ctx.options.hostGatewayIps ?? []), ...links.hosts],
      SecurityOpt: [...(ctx.options.securityOpts ?? []), ...(record.host.SecurityOpt ?? [])],
    },
    args: [record.path, ...record.args],
    env: environmentOf(record, { links: links.env }),
    mounts: [],
    ...(record.idMap !== undefined && { idMap: record.idMap }),
    network: { kind: "none" },
    logPath: record.host.LogConfig?.Type === "none" ? undefined : logPathOf(ctx, record),
  };
}

/** Where the engine's settings say what `host-gateway` is, it is that: a line for each address. */
function withGateways(hosts: readonly string[], gateways: readonly string[]): readonly string[] {
  if (gateways.length === 0) return hosts;
  return hosts.flatMap((entry) => (/[:=]host-gateway$/.test(entry) ? gateways.map((address) => entry.replace(/host-gateway$/, address)) : [entry]));
}

export const logPathOf = (ctx: Context, record: ContainerRecord): string => `${ctx.paths.container(record.id)}/container.log`;

function networkOf(ctx: Context, record: ContainerRecord): SandboxNetwork {
  const mode = record.host.NetworkMode ?? "bridge";
  if (record.config.NetworkDisabled === true) return { kind: "none" };
  const partner = partnerNamed(mode);
  if (partner !== undefined) return { kind: "container", pid: networkPartner(ctx, record, partner) };
  const networks = Object.keys(record.endpoints);
  if (mode === "host" || networks[0] === "host") return { kind: "host" };
  // also one of network mode `none` that was taken off it may have joined others
  if (networks[0] === "none" || (mode === "none" && networks.length === 0)) return { kind: "none" };
  const bindings = effectiveBindings(record.host, record.config.ExposedPorts);
  const wanted = networks.map((network) => ({ network, priority: record.endpoints[network]?.GwPriority ?? 0 }));
  const publisher = Object.keys(bindings).length === 0 ? undefined : ctx.networks.foreseeDefaultRoute(wanted);
  const connect = networks.map((network) => connectOptions(record, network, record.endpoints[network] ?? {}, network === publisher ? bindings : {}));
  return { kind: "networks", connect };
}

/** One attachment as networks/ wants it. */
export function connectOptions(
  record: ContainerRecord,
  network: string,
  settings: EndpointSettings,
  portBindings: ConnectOptions["portBindings"],
): ConnectOptions {
  const { id: containerId, name: containerName, config, host } = record;
  return {
    containerId,
    containerName,
    hostname: config.Hostname ?? "",
    network,
    settings,
    portBindings,
    dns: host.Dns ?? [],
    dnsOptions: host.DnsOptions ?? [],
    ownsLinks: host.Privileged === true || (host.CapAdd ?? []).some((capability) => /^(CAP_)?(NET_ADMIN|ALL)$/i.test(capability)),
  };
}

/** The pid of the container whose network is shared: it may have been named before it was there. Texts are Docker's. */
function networkPartner(ctx: Context, record: ContainerRecord, reference: string): number {
  const partner = tryLookup(ctx, reference);
  if (partner === undefined) throw notFound(`joining network namespace of container: No such container: ${reference}`);
  if (partner.record.id === record.id) throw invalidArgument("cannot join own network namespace");
  const { name, id, state } = partner.record;
  if (state.status === "restarting") throw conflict(`cannot join network namespace of container: ${isRestarting(id)}`);
  if (partner.sandbox === undefined)
    throw conflict(`cannot join network namespace of a non running container: container ${name} is ${statusOf(partner.record)}`);
  return partner.sandbox.pid;
}

function partnerPid(ctx: Context, mode: string, what: "PID" | "IPC"): number | undefined {
  const id = partnerNamed(mode);
  if (id === undefined) return undefined;
  const partner = ctx.entries.get(id);
  if (partner === undefined) throw notFound(`failed to join ${what} namespace: No such container: ${id}`);
  if (partner.record.state.status === "restarting") throw conflict(`failed to join ${what} namespace: ${isRestarting(id)}`);
  if (partner.sandbox === undefined) throw conflict(`failed to join ${what} namespace: container ${id} is not running`);
  if (what === "IPC") checkShareable(partner.record);
  return partner.sandbox.pid;
}

/** Only a container that says so lends its IPC namespace, since /dev/shm comes with it. @throws EngineError invalidArgument in Docker's words */
function checkShareable({ id, host }: ContainerRecord): void {
  if (/^(shareable|host|container:.*)$/.test(host.IpcMode ?? "")) return;
  throw invalidArgument(`failed to join IPC namespace: container ${id}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)`);
}

/** Processes whose pid or ipc namespace the container joins (PidMode, IpcMode `container:<id>`), and with them the user namespace. */
function joinedOf(ctx: Context, record: ContainerRecord): SandboxSpec["joined"] {
  const { PidMode = "", IpcMode = "" } = record.host;
  return { pid: partnerPid(ctx, PidMode, "PID"), ipc: partnerPid(ctx, IpcMode, "IPC"), user: joinedUserNamespace(ctx, record) };
}
