import { invalidArgument } from "./errors.ts";
import { checkedRuns, sparseMapOfRecord, SparseMapText, type SparseRun } from "./tar-sparse.ts";
import { BLOCK, paddingOf, type TarEntryType, type TarHeader, type TarTime } from "./tar.ts";

/** Called in the order of the archive, synchronously from `push`. */
export interface TarHandler {
  entry(header: TarHeader): void;
  /** Bytes of the body of the last entry: a view that is only good until `data` returns. */
  data(chunk: Uint8Array): void;
  /** The next `length` bytes of the body are zeros that the archive doesn't hold (a sparse file's). Bodies may end with one. */
  hole(length: number): void;
  /** The last entry's body is complete (called for each entry, also for one without a body). */
  end(): void;
}

/** Go's archive/tar allows 1 MiB for PAX records and GNU long names; all of one entry together come nowhere near. */
const META_LIMIT = 1 << 20;

const types: Record<string, TarEntryType> = {
  "\0": "file",
  "0": "file",
  "7": "file",
  S: "file",
  "1": "hardlink",
  "2": "symlink",
  "3": "char",
  "4": "block",
  "5": "directory",
  "6": "fifo",
};

type Meta = "pax" | "global" | "longname" | "longlink";
const metas: Record<string, Meta> = { x: "pax", X: "pax", g: "global", L: "longname", K: "longlink" };

interface Pending {
  /** Of the records so far. */
  bytes: number;
  pax: Map<string, string>;
  longname?: string;
  longlink?: string;
}

function bad(what: string): Error {
  return invalidArgument(`bad tar archive: ${what}`);
}

function field(block: Buffer, start: number, length: number): string {
  const end = block.indexOf(0, start);
  return block.toString("latin1", start, end === -1 || end > start + length ? start + length : end);
}

/** Octal text, or GNU's base-256 where the first byte's high bit is set. Go's reader passes over leading NULs and spaces; so does this one. */
function numeric(block: Buffer, from: number, width: number, what: string): number {
  let [start, length] = [from, width];
  for (; length > 0 && (block[start] === 0 || block[start] === 0x20); start++) length--;
  if (length === 0) return 0;
  // nearly every number of nearly every archive: digits, then a NUL or a space; a regular expression takes longer than all the rest of an entry
  let digits = 0;
  let plain = 0;
  for (; digits < length && block[start + digits]! >= 0x30 && block[start + digits]! <= 0x37; digits++) plain = plain * 8 + block[start + digits]! - 0x30;
  if (digits > 0 && (digits === length || block[start + digits] === 0 || (digits === length - 1 && block[start + digits] === 0x20))) return plain;
  const first = block[start]!;
  if ((first & 0x80) !== 0) {
    const negative = (first & 0x40) !== 0;
    let value = negative ? BigInt(first) - 256n : BigInt(first & 0x7f);
    for (let i = start + 1; i < start + length; i++) value = value * 256n + BigInt(block[i]!);
    if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER)) throw bad(`${what} is out of range`);
    return Number(value);
  }
  const text = field(block, start, length).trim();
  if (!/^[0-7]+$/.test(text)) throw bad(`${what} ${JSON.stringify(text)} is no octal number`);
  return parseInt(text, 8);
}

function decimal(text: string, what: string): number {
  if (!/^\d{1,16}$/.test(text)) throw bad(`${what} ${JSON.stringify(text)} is no number`);
  return Number(text);
}

/** PAX times: decimal seconds, with a fraction of any length, maybe negative. */
function paxTime(text: string): TarTime {
  const match = /^(-?)(\d{1,15})(?:\.(\d*))?$/.exec(text);
  if (match === null) throw bad(`time ${JSON.stringify(text)} is no number`);
  const nanoseconds = Number((match[3] ?? "").padEnd(9, "0").slice(0, 9));
  if (match[1] === "") return { seconds: Number(match[2]), nanoseconds };
  return nanoseconds === 0 ? { seconds: -Number(match[2]), nanoseconds } : { seconds: -Number(match[2]) - 1, nanoseconds: 1e9 - nanoseconds };
}

/** Linux has 12 bits for a major and 20 for a minor number. */
const MOST_MAJOR = 0xfff;
const MOST_MINOR = 0xfffff;

function deviceNumber(block: Buffer, start: number, most: number): number {
  const value = numeric(block, start, 8, "device number");
  if (value < 0 || value > most) throw bad(`device number ${value} is out of range`);
  return value;
}

/**
 * Records of `<length> <key>=<value>\n`, length in bytes with itself. An empty value takes a record back (POSIX). The runs of a sparse file of version 0.0,
 * the only keys that come more than once, are put together as version 0.1 has them.
 */
function paxRecords(body: Buffer): Map<string, string> {
  const into = new Map<string, string>();
  const runs: string[] = [];
  let at = 0;
  while (at < body.length) {
    const space = body.indexOf(0x20, at);
    if (space === -1 || space - at > 7) throw bad("PAX record without a length");
    const text = body.toString("latin1", at, space);
    const end = at + decimal(text, "PAX record length");
    if (end > body.length || end <= space + 1 || body[end - 1] !== 0x0a) throw bad("PAX record of a wrong length");
    const equals = body.indexOf(0x3d, space);
    if (equals === -1 || equals >= end) throw bad("PAX record without a key");
    const key = body.toString("latin1", space + 1, equals);
    const value = body.toString("latin1", equals + 1, end - 1);
    if ((key === "path" || key === "linkpath" || key === "GNU.sparse.name") && value.includes("\0")) throw bad(`NUL in PAX ${key}`);
    if (key.includes("\0")) throw bad("NUL in a PAX key");
    if (key === "GNU.sparse.offset" || key === "GNU.sparse.numbytes") {
      if ((runs.length % 2 === 0) !== (key === "GNU.sparse.offset")) throw bad("a sparse map out of order");
      runs.push(value);
    } else if (value === "" && !key.startsWith("SCHILY.xattr.")) into.delete(key);
    else into.set(key, value);
    at = end;
  }
  if (runs.length > 0) into.set("GNU.sparse.map", runs.join(","));
  return into;
}

const zeros = Buffer.alloc(BLOCK);

function verifyChecksum(block: Buffer): void {
  let unsigned = 0;
  let signed = 0;
  for (let i = 0; i < BLOCK; i++) {
    const byte = i >= 148 && i < 156 ? 0x20 : block[i]!;
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  const stated = parseInt(field(block, 148, 8), 8);
  // Some old writers summed signed characters.
  if (stated !== unsigned && stated !== signed) throw bad("a header's checksum is wrong (is this a tar archive?)");
}

/** Bytes that follow a file's header. */
function storedSize(block: Buffer, pax: ReadonlyMap<string, string>): number {
  return checkedSize(pax.has("size") ? decimal(pax.get("size")!, "size") : numeric(block, 124, 12, "size"));
}

/** Bytes of a file once it is unpacked. */
function realSize(block: Buffer, flag: string, pax: ReadonlyMap<string, string>): number {
  const sparse = pax.get("GNU.sparse.size") ?? pax.get("GNU.sparse.realsize");
  if (flag === "S") return checkedSize(numeric(block, 483, 12, "size"));
  return isSparse(pax) && sparse !== undefined ? checkedSize(decimal(sparse, "size")) : storedSize(block, pax);
}

function checkedSize(size: number): number {
  if (size < 0 || size > Number.MAX_SAFE_INTEGER) throw bad(`a size of ${size} bytes`);
  return size;
}

/** A sparse file on its way. */
interface Sparse {
  header: TarHeader;
  /** What comes next: the rest of its map, or its bytes. */
  state: "oldmap" | "map" | "whole";
  runs: SparseRun[];
  text: SparseMapText;
  /** The run that the next bytes belong to, and where they go. */
  run: number;
  position: number;
}

function isSparse(pax: ReadonlyMap<string, string>): boolean {
  return pax.has("GNU.sparse.major") || pax.has("GNU.sparse.minor") || pax.has("GNU.sparse.map");
}

function sparseOf(block: Buffer, flag: string, pax: ReadonlyMap<string, string>, header: TarHeader): Sparse | undefined {
  if (flag !== "S" && !isSparse(pax)) return undefined;
  if (header.type !== "file") throw bad(`a sparse ${header.type}`);
  const sparse: Sparse = { header, state: "whole", runs: [], text: new SparseMapText(), run: 0, position: 0 };
  if (flag === "S") {
    // star's format has the same type and another layout.
    if (block.toString("latin1", 257, 265) !== "ustar  \0") throw bad("a sparse file of a format other than GNU's");
    return oldRuns(block, 386, 4, sparse.runs) ? { ...sparse, state: "oldmap" } : sparse;
  }
  const version = `${pax.get("GNU.sparse.major") ?? 0}.${pax.get("GNU.sparse.minor") ?? 0}`;
  if (version === "1.0") return { ...sparse, state: "map" };
  if (version !== "0.0" && version !== "0.1") throw bad(`a sparse file of version ${JSON.stringify(version)}: 0.0, 0.1 and 1.0 are known`);
  return { ...sparse, runs: sparseMapOfRecord(pax.get("GNU.sparse.map") ?? "") };
}

/** Reads up to `count` runs of 12 + 12 bytes; whether another block of them follows. */
function oldRuns(block: Buffer, start: number, count: number, into: SparseRun[]): boolean {
  const end = start + count * 24;
  for (let at = start; at < end && block[at] !== 0; at += 24)
    into.push({ offset: numeric(block, at, 12, "offset"), length: numeric(block, at + 12, 12, "length") });
  return block[end] !== 0;
}

const noXattrs: ReadonlyMap<string, Uint8Array> = new Map();

function xattrsOf(pax: Map<string, string>): ReadonlyMap<string, Uint8Array> {
  let result: Map<string, Uint8Array> | undefined;
  for (const [key, value] of pax) {
    if (!key.startsWith("SCHILY.xattr.")) continue;
    result ??= new Map();
    result.set(key.slice("SCHILY.xattr.".length), Buffer.from(value, "latin1"));
  }
  return result ?? noXattrs;
}

/**
 * Streaming tar parser: push bytes in any split, get entries. Holds one block and one entry's PAX and long-name records (at most 1 MiB) and nothing else.
 * Whatever comes after the end marker is ignored.
 * @throws EngineError invalidArgument from `push` and `finish`
 */
export class TarParser {
  readonly #handler: TarHandler;
  readonly #block = Buffer.alloc(BLOCK);
  #filled = 0;
  #state: "header" | "body" | "meta" | "padding" | "oldmap" | "map" | "ended" = "header";
  /** Bytes to come of what the archive has of the body or record. */
  #left = 0;
  #sparse: Sparse | undefined;
  #padding = 0;
  #sawZero = false;
  #meta: Meta = "pax";
  #metaParts: Buffer[] = [];
  #pending: Pending = { bytes: 0, pax: new Map() };

  constructor(handler: TarHandler) {
    this.#handler = handler;
  }

  /** True once the end marker (two blocks of zeros) was read. */
  get ended(): boolean {
    return this.#state === "ended";
  }

  push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      switch (this.#state) {
        case "ended":
          return;
        case "header":
        case "oldmap":
        case "map": {
          const take = Math.min(BLOCK - this.#filled, chunk.length - at);
          this.#block.set(chunk.subarray(at, at + take), this.#filled);
          this.#filled += take;
          at += take;
          if (this.#filled === BLOCK) {
            this.#filled = 0;
            if (this.#state === "header") this.#header();
            else if (this.#state === "oldmap") this.#oldMap();
            else this.#map();
          }
          break;
        }
        case "body":
        case "meta": {
          const take = Math.min(this.#left, chunk.length - at);
          const part = chunk.subarray(at, at + take);
          if (this.#state === "body") this.#data(part);
          else this.#metaParts.push(Buffer.from(part));
          at += take;
          this.#left -= take;
          if (this.#left === 0) this.#bodyDone();
          break;
        }
        case "padding": {
          const take = Math.min(this.#left, chunk.length - at);
          at += take;
          this.#left -= take;
          if (this.#left === 0) this.#state = "header";
          break;
        }
      }
    }
  }

  /** The bytes are over. A missing end marker is forgiven, as Go's and GNU's readers do, and missing padding (umoci's layers have neither); a cut entry isn't. */
  finish(): void {
    if (this.#state === "ended") return;
    const whole = this.#state === "header" || (this.#state === "padding" && this.#left === this.#padding);
    const cut = !whole || this.#filled > 0 || this.#pending.pax.size > 0 || this.#pending.longname !== undefined;
    if (cut) throw bad("unexpected end (truncated?)");
  }

  #header(): void {
    const block = this.#block;
    if (block.equals(zeros)) {
      if (this.#sawZero) this.#state = "ended";
      this.#sawZero = true;
      return;
    }
    if (this.#sawZero) throw bad("data after a block of zeros");
    verifyChecksum(block);
    const flag = String.fromCharCode(block[156]!);
    const meta = metas[flag];
    if (meta !== undefined) {
      const size = numeric(block, 124, 12, "size");
      if (size < 0 || size > META_LIMIT) throw bad(`a ${meta} record of ${size} bytes (at most ${META_LIMIT} are allowed)`);
      // records without an entry after them would pile up; global ones are not kept
      if (meta !== "global") this.#pending.bytes += size;
      if (this.#pending.bytes > META_LIMIT) throw bad(`more than ${META_LIMIT} bytes of records before one entry`);
      this.#meta = meta;
      this.#metaParts = [];
      this.#begin("meta", size);
      return;
    }
    const header = this.#entryHeader(flag);
    // Only files have bytes, whatever the size says: other readers (Go's, GNU's) must not see other entries than this one.
    const stored = header.type === "file" ? storedSize(block, this.#pending.pax) : 0;
    const sparse = sparseOf(block, flag, this.#pending.pax, header);
    this.#pending = { bytes: 0, pax: new Map() };
    if (sparse === undefined) {
      this.#handler.entry(header);
      this.#begin("body", stored);
    } else {
      this.#sparse = sparse;
      this.#left = stored;
      if (sparse.state === "whole") this.#mapDone(sparse.runs);
      else this.#state = sparse.state;
    }
  }

  /** A block of the map of type `S`. */
  #oldMap(): void {
    const { runs } = this.#sparse!;
    const more = oldRuns(this.#block, 0, 21, runs);
    if (runs.length * 24 > META_LIMIT) throw bad(`a sparse map of more than ${META_LIMIT} bytes`);
    if (!more) this.#mapDone(runs);
  }

  /** A block of the map of version 1.0, which counts as bytes of the body. */
  #map(): void {
    this.#left -= BLOCK;
    if (this.#left < 0) throw bad("a sparse map longer than its entry");
    const runs = this.#sparse!.text.push(this.#block);
    if (runs !== undefined) this.#mapDone(runs);
  }

  #mapDone(runs: readonly SparseRun[]): void {
    const { header } = this.#sparse!;
    this.#sparse!.runs = checkedRuns(runs, header.size, this.#left);
    this.#handler.entry(header);
    this.#begin("body", this.#left);
  }

  /** Bytes of the body: a sparse file's go where its map says. */
  #data(chunk: Uint8Array): void {
    const sparse = this.#sparse;
    if (sparse === undefined) return this.#handler.data(chunk);
    for (let rest = chunk; rest.length > 0;) {
      const run = sparse.runs[sparse.run]!;
      if (sparse.position < run.offset) this.#handler.hole(run.offset - sparse.position);
      sparse.position = Math.max(sparse.position, run.offset);
      const part = rest.subarray(0, run.offset + run.length - sparse.position);
      this.#handler.data(part);
      rest = rest.subarray(part.length);
      sparse.position += part.length;
      if (sparse.position === run.offset + run.length) sparse.run++;
    }
  }

  #endOfBody(): void {
    const sparse = this.#sparse;
    this.#sparse = undefined;
    if (sparse !== undefined && sparse.position < sparse.header.size) this.#handler.hole(sparse.header.size - sparse.position);
    this.#handler.end();
  }

  #begin(state: "body" | "meta", size: number): void {
    this.#state = state;
    this.#left = size;
    this.#padding = paddingOf(size);
    if (size === 0) this.#bodyDone();
  }

  #bodyDone(): void {
    if (this.#state === "body") this.#endOfBody();
    else this.#metaDone();
    this.#left = this.#padding;
    this.#state = this.#padding === 0 ? "header" : "padding";
  }

  #metaDone(): void {
    const body = Buffer.concat(this.#metaParts);
    this.#metaParts = [];
    // The last one counts, as in Go's reader.
    if (this.#meta === "pax") this.#pending.pax = paxRecords(body);
    // Global records: Docker ignores them too (moby: pkg/archive, TypeXGlobalHeader).
    if (this.#meta === "longname") this.#pending.longname = field(body, 0, body.length);
    if (this.#meta === "longlink") this.#pending.longlink = field(body, 0, body.length);
  }

  #entryHeader(flag: string): TarHeader {
    const block = this.#block;
    const { pax, longname, longlink } = this.#pending;
    let type = types[flag];
    if (type === undefined) throw bad(`unknown entry type ${JSON.stringify(flag)}`);
    const magic = block.toString("latin1", 257, 263);
    // star's own format has times after a shorter prefix.
    const prefix = magic === "ustar\0" ? field(block, 345, block.toString("latin1", 508) === "tar\0" ? 131 : 155) : "";
    const short = field(block, 0, 100);
    const name = longname ?? pax.get("GNU.sparse.name") ?? pax.get("path") ?? (prefix === "" ? short : `${prefix}/${short}`);
    // Version 7 archives have no type for directories.
    if (flag === "\0" && name.endsWith("/")) type = "directory";
    const isLink = type === "hardlink" || type === "symlink";
    const isDevice = type === "char" || type === "block";
    const owner = (key: "uid" | "gid", start: number): number => {
      const value = pax.has(key) ? decimal(pax.get(key)!, key) : numeric(block, start, 8, key);
      if (value < 0 || value > 0xfffffffe) throw bad(`${key} ${value} is out of range`);
      return value;
    };
    return {
      name,
      type,
      linkName: isLink ? (longlink ?? pax.get("linkpath") ?? field(block, 157, 100)) : "",
      mode: numeric(block, 100, 8, "mode") & 0o7777,
      uid: owner("uid", 108),
      gid: owner("gid", 116),
      size: type === "file" ? realSize(block, flag, pax) : 0,
      ...((flag === "S" || isSparse(pax)) && { sparse: true }),
      mtime: pax.has("mtime") ? paxTime(pax.get("mtime")!) : { seconds: numeric(block, 136, 12, "mtime"), nanoseconds: 0 },
      major: isDevice ? deviceNumber(block, 329, MOST_MAJOR) : 0,
      minor: isDevice ? deviceNumber(block, 337, MOST_MINOR) : 0,
      xattrs: xattrsOf(pax),
    };
  }
}

export interface TarEntry {
  header: TarHeader;
  /** The bytes; whatever isn't read by the time the next entry is asked for is skipped. */
  body: AsyncIterable<Uint8Array>;
}

type TarPart = { header: TarHeader } | { data: Uint8Array } | { hole: number } | "end";

const zeroPiece = new Uint8Array(1 << 16);

/** Entries one after another from a stream, for callers that do asynchronous work on each. Reads on only as fast as it is consumed. */
export async function* readTar(source: AsyncIterable<Uint8Array>): AsyncGenerator<TarEntry, void, undefined> {
  const queue: TarPart[] = [];
  const parser = new TarParser({
    entry: (header) => queue.push({ header }),
    data: (data) => queue.push({ data }),
    hole: (hole) => queue.push({ hole }),
    end: () => queue.push("end"),
  });
  const input = source[Symbol.asyncIterator]();
  let over = false;
  let at = 0;
  const next = async (): Promise<TarPart | undefined> => {
    while (at >= queue.length) {
      queue.length = 0;
      at = 0;
      if (over) return undefined;
      const step = await input.next();
      if (step.done === true) {
        over = true;
        parser.finish();
      } else parser.push(step.value);
    }
    return queue[at++];
  };
  async function* bodyOf(): AsyncGenerator<Uint8Array, void, undefined> {
    for (let part = await next(); part !== "end"; part = await next()) {
      if (part === undefined) continue;
      if ("data" in part) yield part.data;
      if ("hole" in part) for (let left = part.hole; left > 0; left -= zeroPiece.length) yield zeroPiece.slice(0, left);
    }
  }
  try {
    for (let part = await next(); part !== undefined; part = await next()) {
      if (part === "end" || !("header" in part)) continue;
      const body = bodyOf();
      yield { header: part.header, body: { [Symbol.asyncIterator]: () => body } };
      // A consumer that broke out of the body ended the generator: the rest of the parts is passed over by this loop.
    }
  } finally {
    await input.return?.();
  }
}
