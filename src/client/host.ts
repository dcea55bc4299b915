import { invalidArgument } from "../lib/errors.ts";

export const defaultSocket = "/run/berth/berth.sock";
export const defaultHost = `unix://${defaultSocket}`;

/** An engine that is reached by ssh: its default socket there, or the one at `path`. */
export interface SshHost {
  kind: "ssh";
  user?: string;
  /** Without the brackets of an IPv6 address. */
  hostname: string;
  port?: number;
  path?: string;
  text: string;
}

/** Where an engine listens. `text` is how a user writes it. */
export type Host = { kind: "unix"; path: string; text: string } | { kind: "tcp"; hostname: string; port: number; tls: boolean; text: string } | SshHost;

/** Certificates as PEM text. `verify` false accepts any server certificate (`--tls` without `--tlsverify`). */
export interface ClientTls {
  ca?: string;
  cert?: string;
  key?: string;
  verify: boolean;
}

/**
 * Reads `unix:///path`, `tcp://host[:port]`, `http://`, `https://` or `ssh://[user@]host[:port][/socket]` as Docker's -H does (ports 2375, with TLS 2376).
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
  if (scheme === "ssh") return sshHost(text, rest);
  if (scheme === "") throw invalidArgument(`unable to parse docker host \`${text}\``);
  throw invalidArgument(`unable to use docker host \`${text}\`: unix://, tcp:// and ssh:// are supported, ${scheme}:// is not`);
}

/** All of it becomes arguments of ssh, and the path a word for the shell at the other end: nothing may begin like an option, or mean something to a shell. */
function sshHost(text: string, rest: string): SshHost {
  const [, user, hostname, port, path] = /^(?:([^@/]*)@)?(\[[^\]]*\]|[^:/@]*)(?::(\d{1,5}))?(\/.*)?$/.exec(rest) ?? [];
  const bad = (why: string): Error => invalidArgument(`unable to parse docker host \`${text}\`: ${why}`);
  if (hostname === undefined) throw bad("want ssh://[user@]host[:port][/socket]");
  if (user?.includes(":") === true) throw bad("plain-text password is not supported");
  if (user !== undefined && !/^[\w.][\w.+@\\-]*$/.test(user)) throw bad("that is no user's name");
  if (!/^(?:\[[0-9a-fA-F:.%\w]+\]|\w[\w.-]*)$/.test(hostname)) throw bad("that is no host's name");
  if (port !== undefined && (Number(port) < 1 || Number(port) > 65535)) throw bad("that is no port");
  if (path !== undefined && !/^[\w./@%+=:,-]*$/.test(path)) throw bad("the socket's path has characters that a shell reads");
  return {
    kind: "ssh",
    hostname: hostname.replace(/^\[|\]$/g, ""),
    text,
    ...(user !== undefined && { user }),
    ...(port !== undefined && { port: Number(port) }),
    ...(path !== undefined && path !== "/" && { path }),
  };
}
