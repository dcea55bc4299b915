import { parseDuration, parseRfc3339 } from "../../lib/time.ts";
import { CliError } from "../errors.ts";

/**
 * `--since` and `--until` as the API takes them: unix seconds with nine digits of fraction. Takes a duration before now, RFC 3339 (parts may be
 * missing; local time without a zone), or unix seconds. @throws CliError
 */
export function parseSince(text: string, nowMilliseconds: number = Date.now()): string {
  if (/^-?\d+(?:\.\d{1,9})?$/.test(text)) return text;
  const duration = parseDuration(text);
  const nanoseconds = duration === undefined ? parseRfc3339(text) : BigInt(nowMilliseconds) * 1_000_000n - duration;
  if (nanoseconds === undefined)
    throw new CliError(`invalid value for "since" or "until": ${JSON.stringify(text)}: want a time such as 2013-01-02T13:23:37Z or a duration such as 42m`);
  return `${nanoseconds / 1_000_000_000n}.${(nanoseconds % 1_000_000_000n).toString().padStart(9, "0")}`;
}
