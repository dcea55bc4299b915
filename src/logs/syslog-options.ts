import { existsSync } from "node:fs";
import { invalidArgument } from "../lib/errors.ts";

export type SyslogAddress =
  | { kind: "local" }
  | { kind: "unix" | "unixgram"; path: string }
  | { kind: "udp" | "tcp"; host: string; port: number }
  | { kind: "tcp+tls"; host: string; port: number };

const formats = ["", "rfc3164", "rfc5424", "rfc5424micro"] as const;
export type SyslogFormat = (typeof formats)[number];

export interface SyslogOptions {
  address: SyslogAddress;
  facility: number;
  format: SyslogFormat;
  tls: { caCert: string; cert: string; key: string; skipVerify: boolean };
}

/** In the order of their numbers; 12 to 15 have no names with Docker. */
const facilities = "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp - - - - local0 local1 local2 local3 local4 local5 local6 local7".split(
  " ",
);

const defaultPort = 514;

/** @throws EngineError invalidArgument */
export function checkSyslogOptions(options: Readonly<Record<string, string>>): void {
  const { address } = parseSyslogOptions(options);
  if ("path" in address && !existsSync(address.path)) throw invalidArgument(`stat ${address.path}: no such file or directory`);
}

/** Docker's options of the driver, with its defaults and its words for what is wrong. @throws EngineError invalidArgument */
export function parseSyslogOptions(options: Readonly<Record<string, string>>): SyslogOptions {
  const format = (options["syslog-format"] ?? "") as SyslogFormat;
  if (!formats.includes(format)) throw invalidArgument("Invalid syslog format");
  return {
    address: parseAddress(options["syslog-address"] ?? ""),
    facility: parseFacility(options["syslog-facility"] ?? ""),
    format,
    tls: {
      caCert: options["syslog-tls-ca-cert"] ?? "",
      cert: options["syslog-tls-cert"] ?? "",
      key: options["syslog-tls-key"] ?? "",
      // As with Docker, that it is there says it.
      skipVerify: options["syslog-tls-skip-verify"] !== undefined,
    },
  };
}

function parseFacility(text: string): number {
  if (text === "") return facilities.indexOf("daemon");
  const named = text === "-" ? -1 : facilities.indexOf(text);
  if (named >= 0) return named;
  if (/^\d{1,2}$/.test(text) && Number(text) < facilities.length) return Number(text);
  throw invalidArgument("invalid syslog facility");
}

function parseAddress(text: string): SyslogAddress {
  if (text === "") return { kind: "local" };
  const match = /^([a-z+]+):\/\/(.*)$/.exec(text);
  const [, kind = "", rest = ""] = match ?? [];
  if (kind === "unix" || kind === "unixgram") {
    if (!rest.startsWith("/") || rest.includes("\0") || Buffer.byteLength(rest) > 107)
      throw invalidArgument(`invalid syslog-address ${text}: it names no socket's path`);
    return { kind, path: rest };
  }
  if (kind !== "udp" && kind !== "tcp" && kind !== "tcp+tls") throw invalidArgument(`unsupported scheme: '${kind}'`);
  const found = /^(?:\[([0-9A-Fa-f:.%\w]+)\]|([^:/\s[\]]+))(?::(\d{1,5}))?\/?$/.exec(rest);
  const port = Number(found?.[3] ?? defaultPort);
  if (found === null || port < 1 || port > 65535) throw invalidArgument(`invalid syslog-address ${text}: want ${kind}://HOST:PORT`);
  const host = found[1] ?? (found[2] as string);
  return kind === "tcp+tls" ? { kind, host, port } : { kind, host, port };
}
