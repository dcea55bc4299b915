import type { EndpointSettings } from "../oci/container.ts";
import { namesOf } from "../networks/allocate.ts";
import { isPredefined } from "../networks/context.ts";
import type { Context } from "./context.ts";
import type { ContainerRecord, NetworkSettings } from "./types.ts";

/** What was asked for, with what is true now filled in where the container runs. */
export function networkSettings(ctx: Context, record: ContainerRecord): NetworkSettings {
  const alive = ctx.entries.get(record.id)?.sandbox !== undefined;
  const { revision } = ctx.networks;
  const known = ctx.networkSettings.get(record);
  if (known?.revision === revision && known.alive === alive) return known.settings;
  const settings = readSettings(ctx, record, alive);
  ctx.networkSettings.set(record, { revision, alive, settings });
  return settings;
}

function readSettings(ctx: Context, record: ContainerRecord, alive: boolean): NetworkSettings {
  const live = alive ? ctx.networks.endpointsOfContainer(record.id) : [];
  const networks: Record<string, EndpointSettings> = {};
  for (const [name, asked] of Object.entries(record.endpoints)) {
    networks[name] = { IPAMConfig: null, Links: null, Aliases: null, DriverOpts: null, GwPriority: 0, ...asked, ...identity(ctx, record, name, alive) };
  }
  const ports: Record<string, { HostIp: string; HostPort: string }[] | null> = {};
  // on internal networks alone nothing can be published, and Docker tells of no ports at all
  const leadsOut = live.some(({ gateway, gateway6 }) => gateway !== undefined || gateway6 !== undefined);
  if (leadsOut) for (const port of Object.keys(record.config.ExposedPorts ?? {})) ports[port] = null;
  for (const endpoint of live) {
    networks[endpoint.networkName] = {
      ...(networks[endpoint.networkName] ?? { IPAMConfig: null, Links: null, Aliases: null, DriverOpts: null, GwPriority: 0 }),
      NetworkID: endpoint.networkId,
      EndpointID: endpoint.id,
      MacAddress: endpoint.macAddress,
      Gateway: endpoint.gateway ?? "",
      IPAddress: endpoint.ipv4 ?? "",
      IPPrefixLen: endpoint.ipv4PrefixLength ?? 0,
      IPv6Gateway: endpoint.gateway6 ?? "",
      GlobalIPv6Address: endpoint.ipv6 ?? "",
      GlobalIPv6PrefixLen: endpoint.ipv6PrefixLength ?? 0,
      DNSNames: endpoint.dnsNames.length === 0 ? null : endpoint.dnsNames,
    };
    for (const { containerPort, proto, hostIp, hostPort } of endpoint.ports) {
      const key = `${containerPort}/${proto}`;
      (ports[key] ??= []).push({ HostIp: hostIp, HostPort: hostPort === 0 ? "" : String(hostPort) });
    }
  }
  const hasNamespace = alive && record.host.NetworkMode !== "host" && !record.host.NetworkMode?.startsWith("container:");
  return {
    networks,
    ports,
    sandboxId: hasNamespace ? record.id : "",
    sandboxKey: hasNamespace ? `${ctx.paths.namespaces}/${record.id}` : "",
    kept: {},
  };
}

/** Settings of an attachment without an endpoint: at rest, or on `host` and `none`, which have none of ours. */
function identity(ctx: Context, record: ContainerRecord, network: string, alive: boolean): EndpointSettings {
  const empty = {
    NetworkID: "",
    EndpointID: "",
    Gateway: "",
    IPAddress: "",
    IPPrefixLen: 0,
    IPv6Gateway: "",
    GlobalIPv6Address: "",
    GlobalIPv6PrefixLen: 0,
    DNSNames: null,
  };
  // who has run keeps the id: Compose tells by it whether a container at rest is still on the network that it should be on
  if (!alive && record.state.startedAt === "0") return empty;
  const found = ctx.networks.list().find(({ name }) => name === network);
  if (found === undefined) return empty;
  const names = { containerName: record.name, containerId: record.id, hostname: record.config.Hostname ?? "", settings: record.endpoints[network] ?? {} };
  return { ...empty, NetworkID: found.id, DNSNames: isPredefined(network) ? null : namesOf(names) };
}
