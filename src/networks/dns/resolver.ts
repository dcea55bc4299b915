import { createServer, type Socket } from "node:net";
import { messageOf } from "../../lib/errors.ts";
import type { Logger } from "../../lib/log.ts";
import type { Address } from "../../lib/address.ts";
import { adoptUdp } from "../udp.ts";
import { type Forwarder, framed } from "./forward.ts";
import { addressAnswer, type Answer, nameAnswer, parseQuery, type Query, recordType, respond, responseCode, reverseAddress } from "./message.ts";

const TCP_LIMIT = 65_535;
const TCP_CONNECTIONS_MOST = 64;
const TCP_IDLE_MS = 10_000;

/** What one container's resolver knows. */
export interface Zone {
  /** Addresses of a container's name, in both families; undefined where no container has it. */
  addressesOf(name: string): Address[] | undefined;
  /** The name of the container with the address. */
  nameOf(address: Address): string | undefined;
  /** Servers for all other names; empty: nothing is forwarded (internal networks). */
  servers(): readonly string[];
}

/**
 * Answers for one container on its 127.0.0.11: names and aliases of its networks from the records, everything else from outside. Takes over the
 * two bound sockets.
 */
export function serveResolver(sockets: { udp: number; tcp: number }, zone: Zone, forwarder: Forwarder, log: Logger): Disposable {
  const answer = async (message: Uint8Array, protocol: "udp" | "tcp"): Promise<Uint8Array | undefined> => {
    const query = parseQuery(message);
    if (query === undefined) return undefined;
    const limit = protocol === "tcp" ? TCP_LIMIT : query.udpSize;
    const own = ownAnswers(query, zone);
    if (own !== undefined) return respond(message, query, responseCode.ok, own, limit);
    const servers = zone.servers();
    const reply = servers.length === 0 ? undefined : await forwarder.ask(message, query, protocol, servers);
    if (reply === "busy") return respond(message, query, responseCode.refused, [], limit);
    return reply ?? respond(message, query, responseCode.serverFailure, [], limit);
  };

  let closed = false;
  let closeUdp = (): void => {};
  adoptUdp(sockets.udp, (data, port, address, socket) => {
    const message = Buffer.from(data); // Bun reuses the buffer
    answer(message, "udp").then(
      (reply) => {
        if (reply !== undefined && !closed) socket.send(reply, port, address);
      },
      (error: unknown) => log.warn("a name could not be looked up", { error: messageOf(error) }),
    );
  }).then(
    (socket) => {
      closeUdp = () => socket.close();
      if (closed) closeUdp();
    },
    (error: unknown) => log.error("a container's resolver has no UDP socket", { error: messageOf(error) }),
  );

  const connections = new Set<Socket>();
  const server = createServer((socket) => {
    if (connections.size >= TCP_CONNECTIONS_MOST) return void socket.destroy();
    connections.add(socket);
    socket.on("close", () => connections.delete(socket));
    serveTcp(socket, (message) => answer(message, "tcp"));
  });
  server.on("error", (error) => log.error("a container's resolver has no TCP socket", { error: messageOf(error) }));
  server.listen({ fd: sockets.tcp });

  return {
    [Symbol.dispose]() {
      closed = true;
      closeUdp();
      server.close();
      for (const socket of connections) socket.destroy();
    },
  };
}

/** Undefined for names and addresses that aren't a container's. A container's name has no records of other types: they are not asked for outside. */
function ownAnswers(query: Query, zone: Zone): Answer[] | undefined {
  if (query.type === recordType.PTR) {
    const address = reverseAddress(query.name);
    const name = address === undefined ? undefined : zone.nameOf(address);
    return name === undefined ? undefined : [nameAnswer(name)];
  }
  const addresses = zone.addressesOf(query.name);
  if (addresses === undefined) return undefined;
  const wanted = query.type === recordType.A ? 4 : query.type === recordType.AAAA ? 6 : 0;
  return shuffled(addresses.filter((address) => address.family === wanted)).map(addressAnswer);
}

/** Clients take the first: a different one each time spreads them over the containers of one alias. */
function shuffled<T>(list: readonly T[]): T[] {
  return list
    .map((value) => ({ value, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ value }) => value);
}

/** Questions of one connection, answered in order; more than one may come. */
function serveTcp(socket: Socket, answer: (message: Buffer) => Promise<Uint8Array | undefined>): void {
  let received = Buffer.alloc(0);
  let busy = false;
  socket.setTimeout(TCP_IDLE_MS, () => socket.destroy());
  socket.on("error", () => socket.destroy());

  const next = async (): Promise<void> => {
    busy = true;
    while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
      const length = received.readUInt16BE(0);
      const message = received.subarray(2, 2 + length);
      received = received.subarray(2 + length);
      const reply = await answer(Buffer.from(message));
      if (reply === undefined) return void socket.destroy();
      socket.write(framed(reply));
    }
    busy = false;
    socket.resume();
  };

  socket.on("data", (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    if (busy)
      socket.pause(); // one question at a time: at most one read is held
    else next().catch(() => socket.destroy());
  });
}
