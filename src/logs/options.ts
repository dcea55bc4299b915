import { parseBool } from "../lib/bool.ts";
import { invalidArgument } from "../lib/errors.ts";
import { clientPattern } from "../lib/match.ts";
import { checkTag } from "./attributes.ts";
import { checkSyslogOptions } from "./syslog-options.ts";
import type { KeepOptions } from "./types.ts";

type Options = Readonly<Record<string, string>>;

const metadata = ["labels", "labels-regex", "env", "env-regex", "tag"];
const files = ["max-size", "max-file", "compress"];
const syslog = ["address", "facility", "format", "tls-ca-cert", "tls-cert", "tls-key", "tls-skip-verify"].map((name) => `syslog-${name}`);
/** Options every driver takes: dockerd's own, and those of the cache that `docker logs` reads where the driver itself can't be read. */
const general = new Set(["mode", "max-buffer-size", "cache-disabled", ...[...files, ...metadata].map((name) => `cache-${name}`)]);

const drivers: Record<string, { options: ReadonlySet<string>; unknown: (key: string) => string }> = {
  journald: { options: new Set(metadata), unknown: (key) => `unknown log opt '${key}' for journald log driver` },
  "json-file": { options: new Set([...files, ...metadata]), unknown: (key) => `unknown log opt '${key}' for json-file log driver` },
  local: { options: new Set([...files, ...metadata]), unknown: (key) => `unknown log opt '${key}' for log driver local` },
  syslog: { options: new Set([...syslog, ...metadata]), unknown: (key) => `unknown log opt '${key}' for syslog log driver` },
};

/** Docker's log drivers that there are, in the order `/info` shows them; `none` isn't one of them. */
export const logDrivers: readonly string[] = Object.keys(drivers);

/** Docker's json-file grows without end unless told otherwise; ours is bounded by default. */
const ownBounds: KeepOptions = { maxSize: 10_000_000, maxFiles: 20, compress: true };
/** Those of Docker's cache. */
const cacheBounds: KeepOptions = { maxSize: 20_000_000, maxFiles: 5, compress: true };

/** Whether what a container writes goes elsewhere, and the files here are but a cache of it. */
export function isForwarded(type: string): boolean {
  return type === "journald" || type === "syslog";
}

/** Checks a driver's name and options, in Docker's words. What Docker finds out at the start is said here already. @throws EngineError invalidArgument */
export function checkLogOptions(type: string, options: Options): void {
  if (type === "none") return;
  const driver = Object.hasOwn(drivers, type) ? drivers[type] : undefined;
  if (driver === undefined)
    throw invalidArgument(`error looking up logging plugin ${type}: plugin "${type}" not found: there are ${logDrivers.join(", ")} and none`);
  checkMode(options);
  for (const key of Object.keys(options)) if (!driver.options.has(key) && !general.has(key)) throw invalidArgument(driver.unknown(key));
  checkFiles(options, "");
  checkFiles(options, "cache-");
  if (options["cache-disabled"]) isTrue(options["cache-disabled"], `invalid value for option cache-disabled: ${options["cache-disabled"]}`);
  for (const key of ["labels-regex", "env-regex"]) {
    const pattern = options[key];
    if (pattern !== undefined && clientPattern(pattern) === undefined)
      throw invalidArgument(`invalid value for ${key}: ${pattern}: no regular expression, or too complex a one`);
  }
  if (options["tag"]) checkTag(options["tag"]);
  if (type === "syslog") checkSyslogOptions(options);
}

function checkMode({ mode = "", "max-buffer-size": buffer }: Options): void {
  if (!["", "blocking", "non-blocking"].includes(mode)) throw invalidArgument(`logger: logging mode not supported: ${mode}`);
  if (buffer === undefined) return;
  if (mode !== "non-blocking") throw invalidArgument("logger: max-buffer-size option is only supported with 'mode=non-blocking'");
  parseLogSize(buffer, 1024, "error parsing option max-buffer-size: ");
}

function checkFiles(options: Options, prefix: "" | "cache-"): void {
  const { [`${prefix}max-size`]: size, [`${prefix}max-file`]: count, [`${prefix}compress`]: compress } = options;
  if (size !== undefined && size !== "-1" && parseLogSize(size, 1000, `invalid value for ${prefix}max-size: `) === 0)
    throw invalidArgument(`${prefix}max-size must be a positive number`);
  if (count !== undefined && !/^\+?\d{1,9}$/.test(count)) throw invalidArgument(`invalid value for ${prefix}max-file: ${count}: it is no whole number`);
  if (count !== undefined && Number(count) < 1) throw invalidArgument(`${prefix}max-file cannot be less than 1`);
  if (compress !== undefined && isTrue(compress, `invalid boolean value for ${prefix}compress: ${compress}`) && Number(count ?? 2) < 2)
    throw invalidArgument(`${prefix}compress cannot be true when max-file is less than 2 or max-size is not set`);
}

/** How a container's files are bounded; undefined for the driver `none`. The options have been checked. */
export function keepOptionsOf(type: string, options: Options): KeepOptions | undefined {
  if (type === "none") return undefined;
  const prefix = isForwarded(type) ? "cache-" : "";
  const bounds = isForwarded(type) ? cacheBounds : ownBounds;
  const { [`${prefix}max-size`]: size, [`${prefix}max-file`]: count, [`${prefix}compress`]: compress } = options;
  return {
    // -1 is what Docker's documentation calls unlimited.
    maxSize: size === "-1" ? Infinity : size === undefined ? bounds.maxSize : parseLogSize(size, 1000, ""),
    maxFiles: count === undefined ? bounds.maxFiles : Number(count),
    compress: compress === undefined ? bounds.compress : isTrue(compress, ""),
  };
}

/** The room for what is still to be sent, where a container is held up rather than lose it: it takes a moment until it is. */
export function queueOf(type: string, options: Options): number | undefined {
  return isForwarded(type) && options["mode"] !== "non-blocking" ? cacheBounds.maxSize * cacheBounds.maxFiles : undefined;
}

/** `docker logs` can read it. */
export function isReadable(type: string, options: Options): boolean {
  if (type === "none") return false;
  const disabled = isForwarded(type) ? options["cache-disabled"] : undefined;
  return !disabled || !isTrue(disabled, "");
}

/** Bytes of `10m`, `1.5GB`, `512`: log files are measured in thousands, as Docker does it, buffers in 1024s. @throws EngineError invalidArgument */
function parseLogSize(text: string, base: 1000 | 1024, prefix: string): number {
  const match = /^(\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?$/i.exec(text);
  if (match === null) throw invalidArgument(`${prefix}invalid size: '${text}'`);
  return Math.floor(Number(match[1]) * base ** " kmgtp".indexOf((match[2] ?? "").toLowerCase() || " "));
}

/** @throws EngineError invalidArgument */
const isTrue = (text: string, otherwise: string): boolean => parseBool(text, () => invalidArgument(otherwise));
