import { connect, createServer, type Server, type Socket } from "node:net";
import type { Logger } from "../lib/log.ts";
import { messageOf } from "../lib/errors.ts";
import { adoptUdp, connectUdp, type UdpFlow, type UdpSocket } from "./udp.ts";

/** Where a proxy hands traffic on to. */
export interface ProxyTarget {
  host: string;
  port: number;
}

const UDP_IDLE_MS = 90_000;
const UDP_FLOWS_MOST = 1024;
/** Datagrams kept while a flow's own socket opens. */
const UDP_EARLY_MOST = 16;

/** Serves connections that DNAT can't: [::1], IPv6 to an IPv4 container, and everything where there is no nftables. Takes over `fd`, a listening socket. */
export function proxyTcp(fd: number, target: ProxyTarget, log: Logger): Disposable {
  const sockets = new Set<Socket>();
  const follow = (socket: Socket, other: () => Socket): void => {
    sockets.add(socket);
    socket.on("error", () => other().destroy());
    socket.on("close", () => {
      sockets.delete(socket);
      other().destroy();
    });
  };
  const server: Server = createServer({ allowHalfOpen: true }, (client) => {
    const upstream = connect({ host: target.host, port: target.port, allowHalfOpen: true });
    follow(client, () => upstream);
    follow(upstream, () => client);
    client.pipe(upstream);
    upstream.pipe(client);
  });
  server.on("error", (error) => log.warn("a published port's proxy failed", { target: `${target.host}:${target.port}`, error: messageOf(error) }));
  server.listen({ fd });
  return {
    [Symbol.dispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

interface Flow {
  send(data: Uint8Array): void;
  close(): void;
  usedAt: number;
}

/** The same for UDP: one socket a client, closed after 90 s of silence. Takes over `fd`. */
export function proxyUdp(fd: number, target: ProxyTarget, log: Logger): Disposable {
  const flows = new Map<string, Flow>();
  let closed = false;
  let close = (): void => {};

  const expire = setInterval(() => {
    const limit = Date.now() - UDP_IDLE_MS;
    for (const [key, flow] of flows) {
      if (flow.usedAt > limit) continue;
      flow.close();
      flows.delete(key);
    }
  }, UDP_IDLE_MS / 3);
  expire.unref();

  const openFlow = (reply: (data: Uint8Array) => void, onError: () => void): Flow => {
    let early: Uint8Array[] = [];
    let socket: UdpFlow | undefined;
    let gone = false;
    const flow: Flow = {
      usedAt: Date.now(),
      send: (data) => {
        flow.usedAt = Date.now();
        if (socket !== undefined) socket.send(data);
        else if (early.length < UDP_EARLY_MOST) early.push(Buffer.from(data));
      },
      close: () => {
        gone = true;
        socket?.close();
      },
    };
    connectUdp(target.host, target.port, reply, onError).then((opened) => {
      if (gone) return opened.close();
      socket = opened;
      for (const data of early) opened.send(data);
      early = [];
    }, onError);
    return flow;
  };

  const serve = (data: Uint8Array, port: number, address: string, server: UdpSocket): void => {
    const key = `${address} ${port}`;
    let flow = flows.get(key);
    if (flow === undefined) {
      if (flows.size >= UDP_FLOWS_MOST) return; // as a full conntrack table does: new flows wait for old ones to end
      const drop = (): void => {
        flows.get(key)?.close();
        flows.delete(key);
      };
      flow = openFlow((answer) => void server.send(answer, port, address), drop);
      flows.set(key, flow);
    }
    flow.send(data);
  };

  adoptUdp(fd, serve).then(
    (server) => {
      close = () => server.close();
      if (closed) close();
    },
    (error: unknown) => log.warn("a published port's proxy failed", { target: `${target.host}:${target.port}`, error: messageOf(error) }),
  );

  return {
    [Symbol.dispose]() {
      closed = true;
      clearInterval(expire);
      close();
      for (const flow of flows.values()) flow.close();
      flows.clear();
    },
  };
}
