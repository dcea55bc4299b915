/**
 * What a tar archive is made of: shared by the reader (tar-reader.ts) and the writer (tar-writer.ts). POSIX ustar and PAX (pax(5), POSIX.1-2024 `pax`),
 * with the GNU extensions seen in images (long names, base-256 numbers).
 *
 * Names in archives are bytes, not text. They are kept as strings with one character a byte (latin1), so that every name survives and the strings can
 * serve as map keys; `textOf` and `bytesOf` convert from and to text.
 */
export type TarEntryType = "file" | "hardlink" | "symlink" | "char" | "block" | "directory" | "fifo";

export interface TarTime {
  /** Since 1970; may be negative. */
  seconds: number;
  nanoseconds: number;
}

export interface TarHeader {
  /** Bytes as latin1, as they stand in the archive (leading `./` or `/` and trailing `/` included). */
  name: string;
  type: TarEntryType;
  /** Target of links, bytes as latin1; empty otherwise. */
  linkName: string;
  /** Permission bits with setuid, setgid and sticky: 0–0o7777. */
  mode: number;
  uid: number;
  gid: number;
  /** Bytes of the body; 0 for everything but files. */
  size: number;
  /** A file that the archive has only parts of: the rest is holes. */
  sparse?: true;
  mtime: TarTime;
  /** Of char and block devices. */
  major: number;
  minor: number;
  /** Extended attributes by full name (PAX `SCHILY.xattr.*`). */
  xattrs: ReadonlyMap<string, Uint8Array>;
}

export const BLOCK = 512;

/** Zeros between the end of a body of `size` bytes and the next block. */
export function paddingOf(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

/** Text of a name kept as bytes; what isn't UTF-8 becomes U+FFFD. */
export function textOf(bytes: string): string {
  return Buffer.from(bytes, "latin1").toString("utf8");
}

/** A name as bytes (latin1) from text. */
export function bytesOf(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

/**
 * The parts of a name in an archive, relative to the root: empty parts and `.` fall away, `..` takes back one part (as Go's filepath.Clean does, which
 * Docker applies). Undefined where the name leaves the root.
 */
export function cleanParts(name: string): string[] | undefined {
  const parts: string[] = [];
  for (const part of name.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === "..") {
      if (parts.pop() === undefined) return undefined;
    } else parts.push(part);
  }
  return parts;
}
