import { NetlinkSocket } from "../../kernel/netlink.ts";
import { redirectDns } from "../../kernel/nftables-batch.ts";
import { createWakeup, wake } from "../../kernel/eventfd.ts";
import { SysError } from "../../kernel/ffi.ts";
import { closeFd } from "../../kernel/fs.ts";
import { boundPort } from "../../kernel/socket.ts";
import { bytesOf, parseAddress } from "../../lib/address.ts";
import { messageOf } from "../../lib/errors.ts";
import { startWorker, type WorkerHandle } from "../../lib/worker.ts";
import { isPredefined, type NetworkContext } from "../context.ts";
import type { NamespaceHandle } from "../driver.ts";
import type { StoredEndpoint } from "../records.ts";
import { isNdots, RESOLVER_ADDRESS } from "../resolv-conf.ts";
import type { Change, NamedEndpoint, Report, Resolvers, Start } from "./types.ts";

const address = bytesOf(parseAddress(RESOLVER_ADDRESS)!);
const TABLE = "berth_dns";

/** What the resolvers need of the service. */
type ResolverContext = Pick<NetworkContext, "door" | "records" | "namespaces" | "options" | "log">;

export function createResolvers(ctx: ResolverContext): Resolvers {
  /** Containers that are served. */
  const running = new Set<string>();
  /** Containers whose resolver could not be restored: rules that lead nowhere stand in their namespaces. */
  const broken = new Set<string>();
  let thread: Thread | undefined;

  /** Made when the first container needs it; from then on it hears of every endpoint. */
  const tell = (change: Change): void => {
    if (thread === undefined) {
      thread = startThread(ctx);
      for (const endpoint of ctx.records.endpoints()) thread.tell({ kind: "put", endpoint: namedEndpoint(ctx, endpoint) });
      const { tell: pass } = thread;
      ctx.records.watchEndpoints((endpoint, isThere) =>
        pass(isThere ? { kind: "put", endpoint: namedEndpoint(ctx, endpoint) } : { kind: "remove", id: endpoint.id }),
      );
    }
    thread.tell(change);
  };
  const bind = (namespace: NamespaceHandle, ports: { udp: number; tcp: number }): { udp: number; tcp: number } =>
    ctx.door.boundSockets(namespace.fd, address, ports);
  const serve = (containerId: string, sockets: { udp: number; tcp: number }): void => {
    tell({ kind: "serve", containerId, ...sockets });
    running.add(containerId);
  };

  /** New ports, and rules that lead to them. */
  const open = (containerId: string, namespace: NamespaceHandle, replace: boolean): void => {
    const sockets = bind(namespace, { udp: 0, tcp: 0 });
    try {
      const ports = { udp: boundPort(sockets.udp), tcp: boundPort(sockets.tcp) };
      using rules = new NetlinkSocket(ctx.door.netlinkSocket(namespace.fd, "netfilter"));
      rules.batch(redirectDns(TABLE, address, ports, replace));
      ctx.records.saveResolver(containerId, ports);
    } catch (error) {
      closeFd(sockets.udp);
      closeFd(sockets.tcp);
      throw error;
    }
    serve(containerId, sockets);
  };

  return {
    ensure(containerId, namespace) {
      const named = ctx.records.endpointsOfContainer(containerId).some((endpoint) => !isPredefined(endpoint.networkName));
      if (named && !running.has(containerId)) open(containerId, namespace, broken.delete(containerId));
    },
    restore(containerId) {
      const ports = ctx.records.resolverOf(containerId);
      if (ports === undefined) return;
      try {
        using namespace = ctx.namespaces.open(ctx.namespaces.path(containerId));
        try {
          serve(containerId, bind(namespace, ports));
        } catch (error) {
          // the container itself took one of the ports while no engine ran
          if (!(error instanceof SysError) || error.code !== "EADDRINUSE") throw error;
          open(containerId, namespace, true);
        }
      } catch (error) {
        // it has ended since it was found running
        if ((error as { code?: string }).code === "ENOENT") return ctx.records.deleteResolver(containerId);
        broken.add(containerId);
        ctx.log.error("a container's resolver could not be started again: it resolves no names", { container: containerId, error: messageOf(error) });
      }
    },
    stop(containerId) {
      broken.delete(containerId);
      if (!running.delete(containerId)) return;
      tell({ kind: "stop", containerId });
      ctx.records.deleteResolver(containerId);
    },
    async close() {
      ctx.records.watchEndpoints(undefined);
      running.clear();
      const ending = thread;
      thread = undefined;
      await ending?.end();
    },
  };
}

interface Thread {
  tell(change: Change): void;
  /** Resolves when it has closed all its sockets. */
  end(): Promise<void>;
}

function startThread({ log }: ResolverContext): Thread {
  const { port1, port2 } = new MessageChannel();
  const posted = new Int32Array(new SharedArrayBuffer(4));
  const wakeup = createWakeup();
  const ended = Promise.withResolvers<void>();
  const worker: WorkerHandle<Start, Report> = startWorker("networks/dns/dns.worker.ts");
  worker.onMessage((report) => {
    if (report.kind === "ended") ended.resolve();
    else log.warn("a container's resolver failed", { what: report.what, error: report.error });
  });
  worker.post({ port: port2, posted, wakeup }, [port2]);
  const tell = (change: Change): void => {
    port1.postMessage(change);
    Atomics.add(posted, 0, 1);
    wake(wakeup);
  };
  return {
    tell,
    async end() {
      tell({ kind: "end" });
      await ended.promise;
      port1.close();
      closeFd(wakeup);
    },
  };
}

function namedEndpoint({ records, options }: ResolverContext, endpoint: StoredEndpoint): NamedEndpoint {
  const gateways = [endpoint.gateway, endpoint.gateway6].filter((gateway) => gateway !== undefined).length;
  return {
    id: endpoint.id,
    networkId: endpoint.networkId,
    networkName: endpoint.networkName,
    containerId: endpoint.containerId,
    names: endpoint.dnsNames,
    addresses: [endpoint.ipv4, endpoint.ipv6].filter((text) => text !== undefined),
    ...(endpoint.links !== undefined && { links: endpoint.links }),
    external: gateways > 0 && records.byId(endpoint.networkId)?.internal === false,
    gateways,
    priority: endpoint.gwPriority ?? 0,
    servers: endpoint.dnsServers ?? options.dns,
    ndots: endpoint.dnsNdots ?? options.dnsOpts.some(isNdots),
  };
}
