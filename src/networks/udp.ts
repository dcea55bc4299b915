/** A bound UDP socket. */
export interface UdpSocket {
  send(data: Uint8Array, port: number, address: string): boolean;
  close(): void;
}

type Receive = (data: Uint8Array, port: number, address: string, socket: UdpSocket) => void;

interface Raw {
  send(data: Uint8Array, port: number, address: string): boolean;
  close(): void;
}

/** Adopts a bound UDP socket (Bun 1.4 takes `fd`; its types don't know). Bun closes the fd with the socket. */
export async function adoptUdp(fd: number, receive: Receive): Promise<UdpSocket> {
  const open = Bun.udpSocket as unknown as (options: {
    fd: number;
    socket: { data(socket: Raw, data: Uint8Array, port: number, address: string): void; error(): void };
  }) => Promise<Raw>;
  // errors of a socket that talks to many are of one peer (ICMP unreachable): the next datagram is none the worse
  return open({ fd, socket: { data: (socket, data, port, address) => receive(data, port, address, socket), error: () => {} } });
}

/** A UDP socket that talks to one peer. */
export interface UdpFlow {
  send(data: Uint8Array): boolean;
  close(): void;
}

/** @throws where the peer's address can't be reached at all */
export async function connectUdp(host: string, port: number, receive: (data: Uint8Array) => void, onError: () => void): Promise<UdpFlow> {
  const socket = await Bun.udpSocket({
    hostname: host.includes(":") ? "::" : "0.0.0.0", // Bun's default is IPv4's, and then IPv6 peers are EAFNOSUPPORT
    connect: { hostname: host, port },
    socket: { data: (_socket, data) => receive(data as Uint8Array), error: onError },
  });
  return { send: (data) => socket.send(data), close: () => socket.close() };
}
