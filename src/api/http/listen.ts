import { chownSync, closeSync, lstatSync, openSync, readFileSync, unlinkSync, constants } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { basename, dirname } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { conflict, invalidArgument } from "../../lib/errors.ts";
import { Connections, type HttpOptions } from "./connection.ts";

export type ListenAddress =
  /** Mode 0660; owned by `group` (name or number) where given. */
  | { kind: "unix"; path: string; group?: string }
  | { kind: "tcp"; host: string; port: number; tls?: TlsFiles }
  /** A listening socket inherited from systemd. */
  | { kind: "fd"; fd: number };

/** PEM texts. With `ca` and `verify` clients must show a certificate. */
export interface TlsFiles {
  ca?: string;
  cert: string;
  key: string;
  verify: boolean;
}

export interface HttpServer {
  /** Returns the port for TCP (asked for 0: the one given). */
  listen(address: ListenAddress): Promise<{ port?: number }>;
  /** Stops listening, closes idle connections and waits for the rest; whatever is left after `graceMs` (500) is cut off. */
  close(graceMs?: number): Promise<void>;
}

/** Own HTTP/1.1 over net and tls: the only variant on Bun with every sort of hijack, half-close and inherited sockets (docs/adr/0003). */
export function createHttpServer(options: HttpOptions): HttpServer {
  const connections = new Connections(options);
  const servers: Server[] = [];
  const cleanups: (() => void)[] = [];
  const accept = (socket: Socket): void => {
    // A TCP client that closed looks like one that half-closed until its kernel answers a probe with a reset: a minute or two. No effect on unix sockets.
    socket.setKeepAlive(true, 30_000);
    connections.accept(socket);
  };

  return {
    listen: async (address) => {
      const server = address.kind === "tcp" && address.tls !== undefined ? tlsServer(address.tls, accept) : createServer({ allowHalfOpen: true }, accept);
      // accept errors (EMFILE) come back on their own once descriptors are free
      if (address.kind === "unix") cleanups.push(await listenUnix(server, address));
      else await listening(server, () => server.listen(address.kind === "fd" ? { fd: address.fd } : { host: address.host, port: address.port }));
      server.on("error", (error) => options.log.error("listener failed", { error }));
      server.on("tlsClientError", (error: Error, socket: Socket) => options.log.info("a TLS client was refused", { from: socket.remoteAddress, error }));
      servers.push(server);
      const bound = server.address();
      return typeof bound === "object" && bound !== null ? { port: bound.port } : {};
    },
    close: async (graceMs = 500) => {
      // taken out as they go, so that a second call finds nothing to do
      for (const server of servers.splice(0)) server.close();
      for (const cleanup of cleanups.splice(0)) cleanup();
      for (const connection of connections.all) connection.closeSoon();
      const deadline = performance.now() + graceMs;
      while (connections.all.size > 0 && performance.now() < deadline) await Bun.sleep(10);
      for (const connection of connections.all) connection.destroy();
    },
  };
}

function tlsServer(files: TlsFiles, accept: (socket: Socket) => void): Server {
  return createTlsServer(
    {
      cert: files.cert,
      key: files.key,
      ...(files.ca === undefined ? {} : { ca: files.ca }),
      requestCert: files.verify,
      // written out: left to its default, NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment would switch the check off
      rejectUnauthorized: files.verify,
      minVersion: "TLSv1.2",
      allowHalfOpen: true,
    } as Parameters<typeof createTlsServer>[0],
    accept,
  );
}

function listening(server: Server, listen: () => void): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.once("listening", () => {
    server.off("error", reject);
    resolve();
  });
  listen();
  return promise;
}

/** Returns what removes the socket's file. */
async function listenUnix(server: Server, address: { path: string; group?: string }): Promise<() => void> {
  const group = address.group === undefined ? undefined : groupId(address.group);
  await removeStale(address.path);
  // sun_path ends at 107 bytes: reach the directory by descriptor
  const directory = openSync(dirname(address.path), constants.O_RDONLY | constants.O_DIRECTORY);
  const short = Buffer.byteLength(address.path) > 107 ? `/proc/self/fd/${directory}/${basename(address.path)}` : address.path;
  try {
    await listening(server, () => {
      // listen(2) is made in this call, so the mask holds for the socket's file alone
      const umask = process.umask(0o117);
      server.listen(short);
      process.umask(umask);
    });
  } catch (error) {
    closeSync(directory);
    throw error;
  }
  if (group !== undefined) chownSync(address.path, 0, group);
  return () => {
    closeSync(directory);
    try {
      unlinkSync(address.path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  };
}

/** A socket file that nobody listens on is left over from a crash; one that answers belongs to a living engine. */
async function removeStale(path: string): Promise<void> {
  const directory = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const code = await new Promise<string | undefined>((resolve) => {
      const probe = connect(Buffer.byteLength(path) > 107 ? `/proc/self/fd/${directory}/${basename(path)}` : path);
      probe.once("connect", () => {
        probe.destroy();
        resolve(undefined);
      });
      probe.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "unknown"));
    });
    if (code !== "ENOENT" && !lstatSync(path).isSocket()) throw invalidArgument(`can't listen on unix://${path}: a file that is no socket is in the way`);
    if (code === undefined) throw conflict(`can't listen on unix://${path}: another process is already listening there`);
    if (code === "ECONNREFUSED") unlinkSync(path);
    else if (code !== "ENOENT") throw invalidArgument(`can't listen on unix://${path}: ${code}`);
  } finally {
    closeSync(directory);
  }
}

/** The number of a group given by name or number. @throws EngineError invalidArgument */
export function groupId(group: string, groups: string = readFileSync("/etc/group", "utf8")): number {
  for (const line of groups.split("\n")) {
    const [name, , id] = line.split(":");
    if (name === group && id !== undefined) return Number(id);
  }
  if (/^\d+$/.test(group)) return Number(group);
  throw invalidArgument(`group ${group} not found`);
}
