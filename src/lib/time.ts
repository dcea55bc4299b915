import { invalidArgument } from "./errors.ts";

const second = 1_000_000_000n;

/** Go's zero time, which Docker shows where something never happened. */
export const zeroTime = "0001-01-01T00:00:00Z";

/** RFC 3339 in UTC with nanoseconds, trailing zeros cut, as Go's RFC3339Nano; 0 gives Go's zero time. */
export function formatNano(nano: bigint): string {
  if (nano === 0n) return zeroTime;
  const fraction = ((nano % second) + second) % second;
  const text = new Date(Number((nano - fraction) / 1_000_000n)).toISOString().slice(0, 19);
  return fraction === 0n ? `${text}Z` : `${text}.${fraction.toString().padStart(9, "0").replace(/0+$/, "")}Z`;
}

const rfc3339 = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d(?::\d\d(?::\d\d)?)?)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:?\d\d)?)?$/i;

/** Unix nanoseconds of an RFC 3339 time; parts may be missing from the end, without a zone it is local time (as Docker's --since). */
export function parseRfc3339(text: string): bigint | undefined {
  const match = rfc3339.exec(text);
  if (match === null) return undefined;
  const [, date, clock = "00", fraction = "", zone = ""] = match;
  const full = clock + ":00:00".slice(clock.length - 2);
  const millis = Date.parse(`${date}T${full}${zone.toUpperCase()}`);
  if (Number.isNaN(millis)) return undefined;
  return BigInt(millis) * 1_000_000n + BigInt(fraction.padEnd(9, "0"));
}

const units: Record<string, bigint> = { ns: 1n, us: 1000n, µs: 1000n, ms: 1_000_000n, s: second, m: 60n * second, h: 3600n * second };

/** Nanoseconds of a Go duration (`1h30m`, `1.5s`, `300ms`). */
export function parseDuration(text: string): bigint | undefined {
  if (!/^[+-]?(?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+$/.test(text)) return undefined;
  let total = 0n;
  for (const [, whole = "0", fraction = "", unit = "s"] of text.matchAll(/(\d+)(?:\.(\d*))?(ns|us|µs|ms|s|m|h)/g)) {
    const scale = units[unit] as bigint;
    total += BigInt(whole) * scale + (BigInt(fraction.slice(0, 12).padEnd(12, "0")) * scale) / 1_000_000_000_000n;
  }
  return text.startsWith("-") ? -total : total;
}

/** Go's Duration.String, of nanoseconds. */
export function formatDuration(nano: number): string {
  if (nano === 0) return "0s";
  if (nano < 1e9) return `${nano / 1e6}ms`;
  const seconds = nano / 1e9;
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  const rest = `${Number((seconds % 60).toFixed(9))}s`;
  if (hours > 0) return `${hours}h${minutes}m${rest}`;
  return minutes > 0 ? `${minutes}m${rest}` : rest;
}

/**
 * A time as Docker's clients send it in `since` and `until`: unix seconds with an optional fraction, RFC 3339, or a duration
 * before `now`. Result and `now` are unix nanoseconds. @throws EngineError invalidArgument
 */
export function parseTimestamp(text: string, now: bigint): bigint {
  const unix = /^(-?\d+)(?:\.(\d{1,9})\d*)?$/.exec(text);
  if (unix !== null) return BigInt(unix[1] as string) * second + BigInt((unix[2] ?? "").padEnd(9, "0"));
  const duration = parseDuration(text);
  if (duration !== undefined) return now - duration;
  const time = parseRfc3339(text);
  if (time === undefined)
    throw invalidArgument(`failed to parse value for time ${JSON.stringify(text)}: want unix seconds, RFC 3339 or a duration such as 10m`);
  return time;
}
