import { invalidArgument } from "../lib/errors.ts";

export const defaultSocket = "/run/berth/berth.sock";
export const defaultHost = `unix://${defaultSocket}`;

/** Where an engine listens. `text` is how a user writes it. */
export type Host = { kind: "unix"; path: string; text: string } | { kind: "tcp"; hostname: string; port: number; tls: boolean; text: string };

/** Certificates as PEM text. `verify` false accepts any server certificate (`--tls` without `--tlsverify`). */
export interface ClientTls {
  ca?: string;
  cert?: string;
  key?: string;
  verify: boolean;
}

/**
 * Reads `unix:///path`, `tcp://host[:port]`, `http://` or `https://` as Docker's -H does (ports 2375, with TLS 2376).
 * @throws EngineError invalidArgument
 */
export function parseHost(text: string, tls = false): Host {
  const [, scheme = "", rest = ""] = /^([a-z]+):\/\/(.*)$/.exec(text) ?? [];
  if (scheme === "unix") return { kind: "unix", path: rest === "" ? defaultSocket : rest, text: `unix://${rest === "" ? defaultSocket : rest}` };
  if (scheme === "tcp" || scheme === "http" || scheme === "https") {
    const secure = tls || scheme === "https";
    const match = /^(\[[0-9a-fA-F:.]+\]|[^:/[\]]*)(?::(\d{1,5}))?\/?$/.exec(rest);
    const port = match?.[2] === undefined ? (secure ? 2376 : 2375) : Number(match[2]);
    if (match === null || port < 1 || port > 65535) throw invalidArgument(`unable to parse docker host \`${text}\``);
    return { kind: "tcp", hostname: match[1] || "127.0.0.1", port, tls: secure, text };
  }
  if (scheme === "") throw invalidArgument(`unable to parse docker host \`${text}\``);
  throw invalidArgument(`unable to use docker host \`${text}\`: unix:// and tcp:// are supported, ${scheme}:// is not`);
}
