import { readdirSync } from "node:fs";
import { readSysctl, writeSysctl } from "../kernel/namespace.ts";
import { listLinks } from "../kernel/netlink-route.ts";
import { messageOf } from "../lib/errors.ts";
import { parseAddress } from "../lib/address.ts";
import { bridgeAlias } from "./bridge.ts";
import { parseBridgeOptions } from "./bridge-options.ts";
import { driverOf, type NetworkContext } from "./context.ts";
import { moveDefaultRoutes } from "./move-default-routes.ts";
import { isElsewhere, restoreElsewhere } from "./elsewhere.ts";
import { ensurePredefined } from "./manage.ts";
import { ownAddressRules } from "./own-address-ports.ts";
import type { PortTarget } from "./ports.ts";
import type { StoredEndpoint } from "./records.ts";

/** Brings records, kernel and sockets together after a start: what belongs to `running` containers stays, all else goes. */
export async function restore(ctx: NetworkContext, running: ReadonlySet<string>): Promise<void> {
  for (const endpoint of ctx.records.endpoints()) {
    if (running.has(endpoint.containerId)) continue;
    const network = ctx.records.byId(endpoint.networkId);
    ctx.store.tx(() => {
      ctx.records.deleteEndpoint(endpoint);
      if (network !== undefined && isElsewhere(ctx, network)) ctx.records.noteElsewhere(endpoint);
    });
  }
  ctx.namespaces.sweep(running);
  ensurePredefined(ctx);
  const besideFirewalld = ctx.firewalld.look();
  enableForwarding(ctx);
  for (const network of ctx.records.list()) {
    const endpoints = ctx.records.endpointsOf(network.id);
    ctx.addresses.open(network, endpoints);
    try {
      const waits = driverOf(ctx, network.driver).restore(network, endpoints);
      if (waits !== undefined) await waits;
    } catch (error) {
      // one network that can't be made (its subnet is routed elsewhere now) must not keep the engine down
      ctx.log.error("a network could not be set up", { network: network.name, error: messageOf(error) });
    }
  }
  for (const endpoint of ctx.records.endpoints()) {
    ctx.attached.add(endpoint.id);
    if (endpoint.ports.length === 0) continue;
    const ofHost = endpoint.ports.filter((port) => port.hostPort !== 0);
    ctx.ports.restore(endpoint.containerId, ofHost, targetOf(endpoint));
    void ctx.firewall.addPorts([...ctx.ports.serve(endpoint.containerId), ...ownAddressRules(ctx, endpoint)]);
  }
  for (const containerId of ctx.records.resolvers()) if (!running.has(containerId)) ctx.records.deleteResolver(containerId);
  for (const containerId of running) {
    try {
      // an engine was killed between a disconnection and the move of the default route
      await moveDefaultRoutes(ctx, containerId);
    } catch (error) {
      ctx.log.warn("a container has no default route", { container: containerId, error: messageOf(error) });
    }
    ctx.resolvers.restore(containerId);
  }
  ctx.firewall.load();
  removeForgottenBridges(ctx);
  restoreElsewhere(ctx);
  await besideFirewalld; // what containers that are started next send outward would be rejected
}

export function targetOf(endpoint: StoredEndpoint): PortTarget {
  const ipv4 = endpoint.ipv4 === undefined ? undefined : parseAddress(endpoint.ipv4);
  const ipv6 = endpoint.ipv6 === undefined ? undefined : parseAddress(endpoint.ipv6);
  return { ...(ipv4 && { ipv4 }), ...(ipv6 && { ipv6 }) };
}

/** Packets between bridges and the world. IPv6 only where a network has it: forwarding makes the host deaf to router advertisements unless told otherwise. */
export function enableForwarding(ctx: NetworkContext): void {
  const set = (path: string, value: string): void => {
    const present = readSysctl(path);
    if (present !== undefined && present !== value) writeSysctl(path, value);
  };
  if (!ctx.options.iptables || !ctx.options.ipForward) return; // as dockerd: without our rules the host isn't made a router
  set("/proc/sys/net/ipv4/ip_forward", "1");
  if (!ctx.records.list().some((network) => network.enableIPv6)) return;
  const conf = "/proc/sys/net/ipv6/conf";
  const forwarding = readSysctl(`${conf}/all/forwarding`);
  if (forwarding === undefined || forwarding === "1") return;
  for (const name of readdirSync(conf)) {
    if (name !== "all" && readSysctl(`${conf}/${name}/accept_ra`) === "1") writeSysctl(`${conf}/${name}/accept_ra`, "2");
  }
  set(`${conf}/all/forwarding`, "1");
}

/** Bridges whose network's row went just before a crash. Ours bear our alias, or `br-` and 12 hex digits as name with our table's set as witness. */
function removeForgottenBridges(ctx: NetworkContext): void {
  const known = new Set(ctx.records.list().flatMap((network) => (network.driver === "bridge" ? [parseBridgeOptions(network).name] : [])));
  const ours = listLinks(ctx.host).filter((link) => link.kind === "bridge" && link.alias === bridgeAlias(ctx.options.engineKey));
  const former = ctx.firewall.formerBridges.filter((name) => /^br-[0-9a-f]{12}$/.test(name));
  for (const name of new Set([...former, ...ours.map((link) => link.name)])) {
    if (known.has(name)) continue;
    ctx.chores.deleteLink(name).catch((error: unknown) => ctx.log.warn("could not delete a removed network's bridge", { link: name, error: messageOf(error) }));
  }
}
