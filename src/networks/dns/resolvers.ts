import { messageOf } from "../../lib/errors.ts";
import { NetlinkSocket } from "../../kernel/netlink.ts";
import { redirectDns } from "../../kernel/nftables-batch.ts";
import { SysError } from "../../kernel/ffi.ts";
import { boundPort } from "../../kernel/socket.ts";
import { type Address, bytesOf, formatAddress, parseAddress } from "../../lib/address.ts";
import { isPredefined, type NetworkContext } from "../context.ts";
import type { NamespaceHandle } from "../driver.ts";
import type { StoredEndpoint } from "../records.ts";
import { hostResolvConf, RESOLVER_ADDRESS } from "../resolv-conf.ts";
import { createForwarder } from "./forward.ts";
import { serveResolver, type Zone } from "./resolver.ts";
import type { Resolvers } from "./types.ts";

const address = bytesOf(parseAddress(RESOLVER_ADDRESS)!);

/** What the resolvers need of the service. */
type ResolverContext = Pick<NetworkContext, "door" | "records" | "namespaces" | "options" | "log">;

export function createResolvers(ctx: ResolverContext): Resolvers {
  const forwarder = createForwarder();
  const running = new Map<string, Disposable>();
  /** Containers in whose namespace rules may stand. */
  const served = new Set<string>();
  const table = "berth_dns";

  const bind = (namespace: NamespaceHandle, ports: { udp: number; tcp: number }): { udp: number; tcp: number } =>
    ctx.door.boundSockets(namespace.fd, address, ports);

  /** New ports, and rules that lead to them. */
  const open = (containerId: string, namespace: NamespaceHandle, replace: boolean): void => {
    const sockets = bind(namespace, { udp: 0, tcp: 0 });
    const ports = { udp: boundPort(sockets.udp), tcp: boundPort(sockets.tcp) };
    const resolver = serveResolver(sockets, zoneOf(ctx, containerId), forwarder, ctx.log.with({ container: containerId }));
    try {
      using rules = new NetlinkSocket(ctx.door.netlinkSocket(namespace.fd, "netfilter"));
      rules.batch(redirectDns(table, address, ports, replace));
      ctx.records.saveResolver(containerId, ports);
    } catch (error) {
      resolver[Symbol.dispose]();
      throw error;
    }
    running.set(containerId, resolver);
  };

  return {
    ensure(containerId, namespace) {
      const named = ctx.records.endpointsOfContainer(containerId).some((endpoint) => !isPredefined(endpoint.networkName));
      if (!named || running.has(containerId)) return;
      // a container that left its last user-defined network and joins one again has old rules
      open(containerId, namespace, served.has(containerId));
      served.add(containerId);
    },
    restore(containerId) {
      served.add(containerId);
      const ports = ctx.records.resolverOf(containerId);
      if (ports === undefined) return;
      // it has ended since it was found running, and given all back but this
      if (ctx.records.endpointsOfContainer(containerId).length === 0) return ctx.records.deleteResolver(containerId);
      try {
        using namespace = ctx.namespaces.open(ctx.namespaces.path(containerId));
        try {
          const sockets = bind(namespace, ports);
          running.set(containerId, serveResolver(sockets, zoneOf(ctx, containerId), forwarder, ctx.log.with({ container: containerId })));
        } catch (error) {
          // the container itself took one of the ports while no engine ran
          if (!(error instanceof SysError) || error.code !== "EADDRINUSE") throw error;
          open(containerId, namespace, true);
        }
      } catch (error) {
        ctx.log.error("a container's resolver could not be started again: it resolves no names", { container: containerId, error: messageOf(error) });
      }
    },
    stop(containerId) {
      const resolver = running.get(containerId);
      if (resolver === undefined) return;
      running.delete(containerId);
      resolver[Symbol.dispose]();
      ctx.records.deleteResolver(containerId);
    },
    forget(containerId) {
      served.delete(containerId);
    },
    close() {
      for (const resolver of running.values()) resolver[Symbol.dispose]();
      running.clear();
    },
  };
}

/** What a container may know: the containers of its own networks. */
function zoneOf(ctx: ResolverContext, containerId: string): Zone {
  const own = (): StoredEndpoint[] => ctx.records.endpointsOfContainer(containerId);
  const addressesIn = (endpoint: StoredEndpoint): Address[] =>
    [endpoint.ipv4, endpoint.ipv6].flatMap((text) => (text === undefined ? [] : (parseAddress(text) ?? [])));
  const named = (network: string, name: string): StoredEndpoint[] =>
    ctx.records.endpointsOf(network).filter((endpoint) => endpoint.dnsNames.some((other) => other.toLowerCase() === name));

  return {
    addressesOf(asked) {
      const lower = asked.toLowerCase();
      const found = own().flatMap((endpoint) => {
        const links = endpoint.links ?? {};
        const name = Object.hasOwn(links, lower) ? links[lower]! : lower;
        const plain = named(endpoint.networkId, name);
        const suffix = `.${endpoint.networkName.toLowerCase()}`;
        // `container.network` works as well
        return plain.length > 0 || !name.endsWith(suffix) ? plain : named(endpoint.networkId, name.slice(0, -suffix.length));
      });
      return found.length === 0 ? undefined : found.flatMap(addressesIn);
    },
    nameOf(wanted) {
      const text = formatAddress(wanted);
      for (const { networkId } of own()) {
        const owner = ctx.records.endpointsOf(networkId).find((endpoint) => endpoint.ipv4 === text || endpoint.ipv6 === text);
        if (owner?.dnsNames[0] !== undefined) return `${owner.dnsNames[0]}.${owner.networkName}`;
      }
      return undefined;
    },
    servers() {
      const outward = own().some((endpoint) => ctx.records.byId(endpoint.networkId)?.internal === false);
      if (!outward) return [];
      const asked = own().find((endpoint) => (endpoint.dnsServers ?? []).length > 0)?.dnsServers ?? ctx.options.dns;
      return (asked.length > 0 ? asked : hostResolvConf().nameservers).filter((server) => server !== RESOLVER_ADDRESS);
    },
  };
}
