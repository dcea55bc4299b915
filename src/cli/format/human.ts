const decimalUnits = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const binaryUnits = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

function scaled(size: number, base: number, units: readonly string[], precision: number): string {
  let value = size;
  let unit = 0;
  while (value >= base && unit < units.length - 1) {
    value /= base;
    unit++;
  }
  return Number(value.toPrecision(precision)) + (units[unit] as string);
}

/** `1.234MB`: powers of 1000, four digits, as docker ps, history and pull. */
export function humanSize(bytes: number, digits = 4): string {
  return scaled(bytes, 1000, decimalUnits, digits);
}

/** `1.5GiB`: powers of 1024, as docker stats and info. */
export function binarySize(bytes: number, digits = 4): string {
  return scaled(bytes, 1024, binaryUnits, digits);
}

/** `About a minute`, `3 hours`, as Docker words spans of time. */
export function humanDuration(milliseconds: number): string {
  const seconds = Math.trunc(milliseconds / 1000);
  if (seconds < 1) return "Less than a second";
  if (seconds === 1) return "1 second";
  if (seconds < 60) return `${seconds} seconds`;
  const minutes = Math.trunc(seconds / 60);
  if (minutes === 1) return "About a minute";
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.trunc(seconds / 3600 + 0.5);
  if (hours === 1) return "About an hour";
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 7 * 2) return `${Math.trunc(hours / 24)} days`;
  if (hours < 24 * 30 * 2) return `${Math.trunc(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.trunc(hours / 24 / 30)} months`;
  return `${Math.trunc(seconds / 3600 / 24 / 365)} years`;
}

/** `3 minutes ago`; nothing for a time that never was. */
export function ago(unixSeconds: number, now: number = Date.now()): string {
  return unixSeconds <= 0 ? "N/A" : `${humanDuration(now - unixSeconds * 1000)} ago`;
}

/** Go's `2006-01-02 15:04:05 -0700 MST` in local time, which tables show as CreatedAt. */
export function goTime(unixMilliseconds: number): string {
  const date = new Date(unixMilliseconds);
  const two = (value: number): string => String(value).padStart(2, "0");
  const offset = -date.getTimezoneOffset();
  const sign = offset < 0 ? "-" : "+";
  const zone = `${sign}${two(Math.floor(Math.abs(offset) / 60))}${two(Math.abs(offset) % 60)}`;
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())} ${zone} ${zoneName(date)}`;
}

function zoneName(date: Date): string {
  if (date.getTimezoneOffset() === 0) return "UTC";
  return (
    /\(([A-Z]{2,5})\)$/.exec(date.toString())?.[1] ??
    new Intl.DateTimeFormat("en", { timeZoneName: "short" }).formatToParts(date).find(({ type }) => type === "timeZoneName")?.value ??
    ""
  );
}

/** The first 12 hex digits, without `sha256:`. */
export function shortId(id: string): string {
  const colon = id.indexOf(":");
  return id.slice(colon + 1, colon + 13);
}

/** At most `width` characters, the last an ellipsis where something was cut. Counts code points, as Docker does. */
export function ellipsis(text: string, width: number): string {
  const characters = [...text];
  if (characters.length <= width) return text;
  return width < 2 ? characters.slice(0, width).join("") : `${characters.slice(0, width - 1).join("")}…`;
}
