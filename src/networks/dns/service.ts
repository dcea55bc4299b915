import { closeSync } from "node:fs";
import { namespaceOfSocket } from "../../kernel/datagram.ts";
import type { NamespaceDoor } from "../../kernel/namespace.ts";
import { AF_INET, AF_INET6, openSocket } from "../../kernel/socket.ts";
import { hostResolvConf, isNdots, RESOLVER_ADDRESS } from "../resolv-conf.ts";
import { listen } from "./listener.ts";
import type { Loop } from "./loop.ts";
import { Names } from "./names.ts";
import { type Answerer, createResolver } from "./resolver.ts";
import type { Change } from "./types.ts";
import { Upstream } from "./upstream.ts";

/** Bytes of answers that are kept: of the host's servers for all, of a container's own for itself. */
const HOST_CACHE = 4 << 20;
const OWN_CACHE = 256 << 10;
/** How often the host's configuration is looked at, while it is needed. */
const HOST_FRESH_MS = 1_000;

interface Served extends Disposable {
  own: Upstream | undefined;
}

/** All containers' resolvers, in the Worker's own thread. */
export interface Service extends Disposable {
  apply(change: Exclude<Change, { kind: "end" }>): void;
}

/** `catchUp` brings the names up to what the engine knew when a question was asked. */
export function createService(loop: Loop, door: NamespaceDoor, catchUp: () => void): Service {
  const names = new Names();
  const served = new Map<string, Served>();
  const host = hostServers(loop);

  const serve = (containerId: string, sockets: { udp: number; tcp: number }): void => {
    let namespace: number | undefined;
    const openInside = (family: "ipv4" | "ipv6", type: number): number => door.socket((namespace ??= namespaceOfSocket(sockets.udp)), family, type);
    const own = (servers: readonly string[]): Upstream => {
      entry.own ??= new Upstream(loop, openInside, OWN_CACHE);
      // our own address would lead a question round and round
      entry.own.use(servers.filter((server) => server !== RESOLVER_ADDRESS));
      return entry.own;
    };
    const resolve = createResolver({ loop, containerId, names, own, host: () => host.upstream(), hostNdots: () => host.ndots() });
    const answer: Answerer = (message, protocol, reply) => {
      catchUp();
      // it may have ended just now
      return served.get(containerId) === entry && resolve(message, protocol, reply);
    };
    const listener = listen(sockets, loop, answer);
    const end = (): void => {
      entry.own?.[Symbol.dispose]();
      listener[Symbol.dispose]();
      if (namespace !== undefined) closeSync(namespace);
    };
    const entry: Served = { own: undefined, [Symbol.dispose]: end };
    served.set(containerId, entry);
  };
  const stop = (containerId: string): void => {
    served.get(containerId)?.[Symbol.dispose]();
    served.delete(containerId);
  };

  return {
    apply(change) {
      if (change.kind === "put") names.put(change.endpoint);
      else if (change.kind === "remove") names.remove(change.id);
      else if (change.kind === "serve") serve(change.containerId, change);
      else stop(change.containerId);
    },
    [Symbol.dispose]() {
      for (const containerId of served.keys()) stop(containerId);
      host[Symbol.dispose]();
    },
  };
}

/** What the host's resolv.conf says now, whatever it said when a container started: hosts move between networks. */
function hostServers(loop: Loop): Disposable & { upstream(): Upstream; ndots(): boolean } {
  const open = (family: "ipv4" | "ipv6", type: number): number => openSocket(family === "ipv4" ? AF_INET : AF_INET6, type);
  const upstream = new Upstream(loop, open, HOST_CACHE);
  let readAt = Number.NEGATIVE_INFINITY;
  let ndots = false;
  const refresh = (): void => {
    const now = loop.now();
    if (now - readAt < HOST_FRESH_MS) return;
    readAt = now;
    const conf = hostResolvConf();
    upstream.use(conf.nameservers);
    ndots = conf.options.some(isNdots);
  };
  return {
    upstream() {
      refresh();
      return upstream;
    },
    ndots() {
      refresh();
      return ndots;
    },
    [Symbol.dispose]: () => upstream[Symbol.dispose](),
  };
}
