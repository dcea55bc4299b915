import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import type { HttpServer, ListenAddress, TlsFiles } from "../api/http/listen.ts";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { socketsHandedOver } from "./handed-over.ts";
import type { DaemonOptions } from "./options.ts";

/** Listens on every `--host`. @throws EngineError invalidArgument for an address, file or group that is no good */
export async function listenAll(server: HttpServer, options: DaemonOptions, log: Logger): Promise<void> {
  for (const host of new Set(options.hosts)) await listenOn(server, host, options, log);
}

async function listenOn(server: HttpServer, host: string, options: DaemonOptions, log: Logger): Promise<void> {
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
  if (scheme === "fd") return inheritedSockets(rest ?? "");
  if (scheme === "tcp") {
    const tls = options.tls || options.tlsverify ? tlsFiles(options) : undefined;
    const [, bracketed, plain, port] = /^(?:\[([^\]]*)\]|([^:/]*))(?::(\d+))?\/?$/.exec(rest ?? "") ?? [];
    if ((bracketed === undefined && plain === undefined) || Number(port ?? 1) > 65535) throw invalidArgument(`--host ${host}: want tcp://ADDRESS:PORT`);
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

/** For `--validate`: every address, its group and its certificates, without listening. @throws EngineError invalidArgument */
export function checkHosts(options: DaemonOptions): void {
  for (const host of options.hosts) if (!host.startsWith("fd://")) listenAddresses(host, options);
}

/**
 * Sockets that were handed over. `fd://` and `fd://*` are all of them, `fd://4` is one by number, `fd://NAME` those
 * of that FileDescriptorName=.
 */
function inheritedSockets(wanted: string): ListenAddress[] {
  const count = socketsHandedOver();
  if (count < 1) throw invalidArgument("--host fd://: no socket was handed over (LISTEN_FDS, LISTEN_PID): start the engine through its systemd socket unit");
  const names = (process.env["LISTEN_FDNAMES"] ?? "").split(":");
  const all = Array.from({ length: count }, (_, i) => ({ fd: 3 + i, name: names[i] ?? "" }));
  const chosen = wanted === "" || wanted === "*" ? all : all.filter(({ fd, name }) => String(fd) === wanted || name === wanted);
  if (chosen.length === 0) throw invalidArgument(`--host fd://${wanted}: no such socket was handed over`);
  return chosen.map(({ fd }) => ({ kind: "fd", fd }));
}

function tlsFiles(options: DaemonOptions): TlsFiles {
  // where the docker command keeps its own, and dockerd looks
  const folder = process.env["DOCKER_CERT_PATH"] || join(homedir(), ".docker");
  const read = (flag: "tlscacert" | "tlscert" | "tlskey", usual: string): string => {
    try {
      return readFileSync(options[flag] || join(folder, usual), "utf8");
    } catch (error) {
      throw invalidArgument(`TLS needs --${flag} FILE: ${messageOf(error)}`, error);
    }
  };
  const [cert, key] = [read("tlscert", "cert.pem"), read("tlskey", "key.pem")];
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    throw invalidArgument(`--tlscert and --tlskey don't fit: ${messageOf(error)}`, error);
  }
  return {
    cert,
    key,
    verify: options.tlsverify,
    ...(options.tlsverify ? { ca: read("tlscacert", "ca.pem") } : {}),
  };
}
