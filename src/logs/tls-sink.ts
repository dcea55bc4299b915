import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import type { Sink } from "./sink.ts";
import type { SyslogOptions } from "./syslog-options.ts";

const connectMs = 10_000;

/** TCP with TLS. What was sent counts once the library has handed it to the kernel: a moment later than with the plain ways. */
export function tlsSink(address: { host: string; port: number }, tls: SyslogOptions["tls"], format: Sink["format"]): Sink {
  let socket: TLSSocket | undefined;
  const close = (): void => {
    socket?.destroy();
    socket = undefined;
  };
  const target = `tcp+tls://${address.host}:${address.port}`;
  return {
    format,
    isDirect: false,
    isStream: true,
    target,
    async connect(signal) {
      close();
      try {
        socket = await open(address, tls, signal);
      } catch (error) {
        throw new Error(`dial ${target}: ${(error as Error).message}`, { cause: error });
      }
    },
    async send(message) {
      const present = socket;
      if (present === undefined || present.destroyed || !present.writable) throw new Error("the other side has closed the connection");
      await new Promise<void>((resolve, reject) => {
        const fail = (): void => reject(new Error("the other side has closed the connection"));
        present.once("close", fail);
        present.write(message, (error) => {
          present.off("close", fail);
          if (error) reject(error);
          else resolve();
        });
      });
    },
    [Symbol.asyncDispose]: async () => {
      socket?.end();
      socket = undefined;
    },
  };
}

function open(
  { host, port }: { host: string; port: number },
  { caCert, cert, key, skipVerify }: SyslogOptions["tls"],
  signal: AbortSignal,
): Promise<TLSSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>();
  const socket = connect({
    host,
    port,
    // an address is no name to be asked for
    ...(isIP(host) === 0 ? { servername: host } : {}),
    rejectUnauthorized: !skipVerify,
    ...(caCert === "" ? {} : { ca: readFileSync(caCert) }),
    ...(cert === "" ? {} : { cert: readFileSync(cert) }),
    ...(key === "" ? {} : { key: readFileSync(key) }),
  });
  const give = (error: Error): void => {
    socket.destroy();
    reject(error);
  };
  socket.setTimeout(connectMs, () => give(new Error("connect: timed out")));
  socket.on("error", give);
  // A peer that says anything is none of our concern, but has to be read so that its leaving is seen.
  socket.on("end", () => socket.destroy());
  socket.resume();
  socket.once("secureConnect", () => {
    socket.setTimeout(0);
    resolve(socket);
  });
  signal.addEventListener("abort", () => give(signal.reason as Error), { once: true });
  return promise;
}
