import { existsSync, readFileSync } from "node:fs";
import type { HttpServer, ListenAddress, TlsFiles } from "../api/http/listen.ts";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import type { DaemonOptions } from "./options.ts";

/** Listens on one `--host`. @throws EngineError invalidArgument for an address, file or group that is no good */
export async function listenOn(server: HttpServer, host: string, options: DaemonOptions, log: Logger): Promise<void> {
  for (const address of listenAddresses(host, options)) {
    if (address.kind === "tcp" && address.tls === undefined) {
      const local = address.host === "localhost" || address.host === "::1" || address.host.startsWith("127.");
      log.warn(
        local
          ? "the API listens on TCP without TLS: whoever can reach this port from here is root on this host"
          : "the API listens on TCP without TLS: whoever can reach this port from anywhere is root on this host. Use --tlsverify",
        { host },
      );
    }
    await server.listen(address);
  }
}

/** Exported for its test. */
export function listenAddresses(host: string, options: DaemonOptions): ListenAddress[] {
  const [, scheme, rest] = /^(unix|tcp|fd):\/\/(.*)$/.exec(host) ?? [];
  if (scheme === "unix") {
    const group = socketGroup(options.group);
    return [{ kind: "unix", path: rest === "" || rest === undefined ? `${options.execRoot}/berth.sock` : rest, ...(group === undefined ? {} : { group }) }];
  }
  if (scheme === "fd") return inheritedSockets();
  if (scheme === "tcp") {
    const tls = options.tls || options.tlsverify ? tlsFiles(options) : undefined;
    const [, bracketed, plain, port] = /^(?:\[([^\]]*)\]|([^:/]*))(?::(\d+))?\/?$/.exec(rest ?? "") ?? [];
    if (bracketed === undefined && plain === undefined) throw invalidArgument(`--host ${host}: want tcp://ADDRESS:PORT`);
    const defaultPort = tls === undefined ? 2375 : 2376;
    return [
      {
        kind: "tcp",
        host: bracketed ?? (plain === "" ? "127.0.0.1" : (plain ?? "")),
        port: port === undefined ? defaultPort : Number(port),
        ...(tls === undefined ? {} : { tls }),
      },
    ];
  }
  throw invalidArgument(`--host ${host}: want unix://PATH, tcp://ADDRESS:PORT or fd://`);
}

function socketGroup(given: string): string | undefined {
  // a minimal system has none
  const groups = existsSync("/etc/group") ? readFileSync("/etc/group", "utf8") : "";
  const exists = (name: string): boolean => /^\d+$/.test(name) || groups.split("\n").some((line) => line.startsWith(`${name}:`));
  if (given === "") return ["berth", "docker"].find(exists);
  if (!exists(given)) throw invalidArgument(`--group ${given}: there is no such group. Make it with: groupadd ${given}`);
  return given;
}

/** sd_listen_fds(3): descriptors from 3 on, meant for this process alone. */
function inheritedSockets(): ListenAddress[] {
  const count = Number(process.env["LISTEN_PID"]) === process.pid ? Number(process.env["LISTEN_FDS"] ?? 0) : 0;
  if (count < 1) throw invalidArgument("--host fd://: no socket was handed over (LISTEN_FDS, LISTEN_PID): start the engine through its systemd socket unit");
  return Array.from({ length: count }, (_, i) => ({ kind: "fd" as const, fd: 3 + i }));
}

function tlsFiles(options: DaemonOptions): TlsFiles {
  const read = (flag: string, path: string): string => {
    if (path === "") throw invalidArgument(`TLS needs --${flag} FILE`);
    try {
      return readFileSync(path, "utf8");
    } catch (error) {
      throw invalidArgument(`--${flag}: ${messageOf(error)}`, error);
    }
  };
  return {
    cert: read("tlscert", options.tlscert),
    key: read("tlskey", options.tlskey),
    verify: options.tlsverify,
    ...(options.tlsverify ? { ca: read("tlscacert", options.tlscacert) } : {}),
  };
}
