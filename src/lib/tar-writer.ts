import { BLOCK, paddingOf, type TarEntryType, type TarHeader } from "./tar.ts";

const flags: Record<TarEntryType, string> = { file: "0", hardlink: "1", symlink: "2", char: "3", block: "4", directory: "5", fifo: "6" };

/** What may be left out of a header that is to be written. */
export type TarHeaderInit = Pick<TarHeader, "name" | "type"> & Partial<TarHeader>;

/** Two blocks of zeros. */
export const endOfArchive: Uint8Array = new Uint8Array(2 * BLOCK);

/** The zeros that follow a body of `size` bytes. */
export function padding(size: number): Uint8Array {
  return new Uint8Array(paddingOf(size));
}

const OCTAL_7 = 0o7777777;
const OCTAL_11 = 0o77777777777;

function octal(block: Buffer, value: number, start: number, length: number): void {
  block.write(value.toString(8).padStart(length - 1, "0"), start, length - 1, "latin1");
}

/** One PAX record: its length counts its own digits. */
function record(key: string, value: string): string {
  const rest = key.length + value.length + 3;
  let length = rest + String(rest).length;
  if (String(length).length !== String(rest).length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

function block(fields: {
  name: string;
  flag: string;
  mode: number;
  uid: number;
  gid: number;
  size: number;
  mtime: number;
  link: string;
  major: number;
  minor: number;
}): Buffer {
  const out = Buffer.alloc(BLOCK);
  out.write(fields.name.slice(0, 100), 0, "latin1");
  octal(out, fields.mode, 100, 8);
  octal(out, fields.uid, 108, 8);
  octal(out, fields.gid, 116, 8);
  octal(out, fields.size, 124, 12);
  octal(out, fields.mtime, 136, 12);
  out.write(fields.flag, 156, "latin1");
  out.write(fields.link.slice(0, 100), 157, "latin1");
  out.write("ustar\x0000", 257, "latin1");
  if (fields.flag === "3" || fields.flag === "4") {
    octal(out, fields.major, 329, 8);
    octal(out, fields.minor, 337, 8);
  }
  out.fill(0x20, 148, 156);
  let sum = 0;
  // by index: an iterator takes longer than all the rest of the header
  for (let i = 0; i < BLOCK; i++) sum += out[i]!;
  out.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return out;
}

/**
 * The bytes of one entry's header: a PAX record before it where the fields of ustar don't do (long names, nanoseconds, big numbers, xattrs). The same
 * header always gives the same bytes. `records`: further ones of PAX. The caller writes `size` bytes of body and `padding(size)` after it.
 */
export function encodeHeader(init: TarHeaderInit, records: readonly [key: string, value: string][] = []): Buffer {
  const size = init.type === "file" ? (init.size ?? 0) : 0;
  const { uid = 0, gid = 0, major = 0, minor = 0, linkName = "", mtime = { seconds: 0, nanoseconds: 0 } } = init;
  const name = init.type === "directory" && !init.name.endsWith("/") ? `${init.name}/` : init.name;
  const mode = init.mode ?? (init.type === "directory" ? 0o755 : 0o644);
  const pax: [string, string][] = [...records];
  if (name.length > 100) pax.push(["path", name]);
  if (linkName.length > 100) pax.push(["linkpath", linkName]);
  if (size > OCTAL_11) pax.push(["size", String(size)]);
  if (uid > OCTAL_7) pax.push(["uid", String(uid)]);
  if (gid > OCTAL_7) pax.push(["gid", String(gid)]);
  if (mtime.nanoseconds !== 0 || mtime.seconds < 0 || mtime.seconds > OCTAL_11) pax.push(["mtime", decimalTime(mtime.seconds, mtime.nanoseconds)]);
  for (const [key, value] of [...(init.xattrs ?? [])].sort(([a], [b]) => (a < b ? -1 : 1)))
    pax.push([`SCHILY.xattr.${key}`, Buffer.from(value).toString("latin1")]);

  const clamp = (value: number, limit: number): number => (value < 0 || value > limit ? 0 : value);
  const header = block({
    name,
    flag: flags[init.type],
    mode,
    uid: clamp(uid, OCTAL_7),
    gid: clamp(gid, OCTAL_7),
    size: clamp(size, OCTAL_11),
    mtime: clamp(mtime.seconds, OCTAL_11),
    link: linkName,
    major,
    minor,
  });
  if (pax.length === 0) return header;
  const body = Buffer.from(pax.map(([key, value]) => record(key, value)).join(""), "latin1");
  const slash = name.lastIndexOf("/", name.length - 2);
  const paxName = `PaxHeaders.0/${name.slice(slash + 1)}`.replace(/\/$/, "");
  const intro = block({ name: paxName, flag: "x", mode: 0o644, uid: 0, gid: 0, size: body.length, mtime: 0, link: "", major: 0, minor: 0 });
  return Buffer.concat([intro, body, padding(body.length), header]);
}

/**
 * The header of a file with holes and the map of what it has, in the form of GNU tar's version 1.0 (its manual, "Sparse Formats"). The caller writes the bytes
 * of `runs` after it, then `padding(stored)`.
 */
export function encodeSparse(init: TarHeaderInit, realSize: number, runs: readonly { offset: number; length: number }[]): { head: Buffer; stored: number } {
  const text = Buffer.from([runs.length, ...runs.flatMap(({ offset, length }) => [offset, length])].map((number) => `${number}\n`).join(""), "latin1");
  const stored = runs.reduce((sum, { length }) => sum + length, 0);
  const map = Buffer.concat([text, padding(text.length)]);
  const slash = init.name.lastIndexOf("/");
  const name = `${init.name.slice(0, slash + 1)}GNUSparseFile.0/${init.name.slice(slash + 1)}`;
  const records: [string, string][] = [
    ["GNU.sparse.major", "1"],
    ["GNU.sparse.minor", "0"],
    ["GNU.sparse.name", init.name],
    ["GNU.sparse.realsize", String(realSize)],
  ];
  return { head: Buffer.concat([encodeHeader({ ...init, name, type: "file", size: map.length + stored }, records), map]), stored };
}

function decimalTime(seconds: number, nanoseconds: number): string {
  if (nanoseconds === 0) return String(seconds);
  const negative = seconds < 0;
  const whole = negative ? -seconds - 1 : seconds;
  const fraction = String(negative ? 1e9 - nanoseconds : nanoseconds)
    .padStart(9, "0")
    .replace(/0+$/, "");
  return `${negative ? "-" : ""}${whole}.${fraction}`;
}

/** A whole small archive in memory: for tests, and for copies of a few files. */
export function tarOf(entries: readonly (TarHeaderInit & { body?: Uint8Array | string })[]): Buffer {
  const parts: Uint8Array[] = [];
  for (const { body, ...header } of entries) {
    const bytes = typeof body === "string" ? Buffer.from(body) : (body ?? new Uint8Array());
    parts.push(encodeHeader({ ...header, size: bytes.length }), bytes, padding(bytes.length));
  }
  parts.push(endOfArchive);
  return Buffer.concat(parts);
}
