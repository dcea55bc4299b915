const exponents: Record<string, number> = { "": 0, k: 1, m: 2, g: 3, t: 4, p: 5 };

/** Bytes of `512`, `64k`, `1.5g`, `1GiB` (powers of 1024, as Docker's memory flags). Undefined if it is none. */
export function parseBytes(text: string): number | undefined {
  const match = /^(\d+(?:\.\d*)?|\.\d+) ?([kmgtp]?)i?b?$/i.exec(text);
  if (match === null) return undefined;
  return Math.floor(Number(match[1]) * 1024 ** (exponents[(match[2] as string).toLowerCase()] as number));
}

/** The same, or -1 for "no limit". */
export function parseSignedBytes(text: string): number | undefined {
  return text === "-1" ? -1 : parseBytes(text);
}

const names = ["B", "KB", "MB", "GB", "TB", "PB"];

/** `512B`, `1.5GB`: powers of 1024, rounded to two or three digits, as parseBytes reads them. */
export function formatBytes(bytes: number): string {
  let [value, at] = [bytes, 0];
  for (; value >= 1024 && at < names.length - 1; at++) value /= 1024;
  return `${Number(value.toFixed(value < 10 ? 2 : 1))}${names[at]}`;
}
