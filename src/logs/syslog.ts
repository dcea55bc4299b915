import { hostname } from "node:os";
import { logTag, type LogSource } from "./attributes.ts";
import { parseCriTime } from "./cri.ts";
import type { Format, Sink } from "./sink.ts";
import { socketSink, type SocketTarget } from "./sockets.ts";
import { parseSyslogOptions, type SyslogFormat } from "./syslog-options.ts";
import { tlsSink } from "./tls-sink.ts";

const err = 3;
const info = 6;
const NEWLINE = Buffer.from("\n");
const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Where local daemons listen (srslog's list). */
const localTargets: SocketTarget[] = (["unixgram", "unix"] as const).flatMap((kind) =>
  ["/dev/log", "/var/run/syslog", "/var/run/log"].map((path) => ({ kind, path })),
);

/** The driver `syslog`, with Docker's options. @throws EngineError invalidArgument */
export function syslogSink(source: LogSource): Sink {
  const { address, facility, format, tls } = parseSyslogOptions(source.options);
  const isSecure = address.kind === "tcp+tls";
  const write = syslogFormat({ facility, format, tag: logTag(source), countsBytes: isSecure && format.startsWith("rfc5424") });
  if (address.kind === "local") return socketSink(localTargets, write);
  if (address.kind === "tcp+tls") return tlsSink(address, tls, write);
  return socketSink([address], write);
}

/**
 * Docker's message of each format, newline included; with `countsBytes` after its length, as RFC 5425 wants it. The time is that of the record,
 * where dockerd writes its own clock's: a record may come later than it was made.
 */
export function syslogFormat(options: { facility: number; format: SyslogFormat; tag: string; countsBytes: boolean }): Format {
  const { facility, format, tag, countsBytes } = options;
  const host = hostname();
  return ({ stream, time, text }) => {
    if (text.length === 0) return undefined;
    const priority = `<${facility * 8 + (stream === "stderr" ? err : info)}>`;
    const message = Buffer.concat([Buffer.from(priority + head(format, time, host, tag)), text, NEWLINE]);
    return countsBytes ? Buffer.concat([Buffer.from(`${message.length} `), message]) : message;
  };
}

function head(format: SyslogFormat, time: string, host: string, tag: string): string {
  const date = new Date(Number((parseCriTime(time) ?? 0n) / 1_000_000n));
  if (format === "") return `${stamp(date)} ${tag}[${process.pid}]: `;
  if (format === "rfc3164") return `${stamp(date)} ${host} ${tag}[${process.pid}]: `;
  const fraction = format === "rfc5424micro" ? `.${(/\.(\d{1,6})/.exec(time)?.[1] ?? "").padEnd(6, "0")}` : "";
  return `1 ${localSeconds(date)}${fraction}${zone(date)} ${host} ${tag} ${process.pid} ${tag} - `;
}

const two = (number: number): string => String(number).padStart(2, "0");

/** `Jan  2 03:04:05`, local time. */
function stamp(date: Date): string {
  return `${months[date.getMonth()]} ${String(date.getDate()).padStart(2)} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

function localSeconds(date: Date): string {
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}T${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

function zone(date: Date): string {
  const minutes = -date.getTimezoneOffset();
  if (minutes === 0) return "Z";
  return `${minutes < 0 ? "-" : "+"}${two(Math.floor(Math.abs(minutes) / 60))}:${two(Math.abs(minutes) % 60)}`;
}
