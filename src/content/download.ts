import { open, readFile, rename, rm, stat, writeFile, type FileHandle } from "node:fs/promises";
import { internal } from "../lib/errors.ts";
import type { Digest } from "../oci/digest.ts";
import { checkedRanges, gapsOf, withRange, type Range } from "./ranges.ts";
import type { Download } from "./types.ts";
import { writeError } from "./write-error.ts";

/** Milliseconds between two notes of what is there: a killed engine loses as much of a download. */
const NOTE_INTERVAL = 1000;

/** Beside the bytes: which of them are there. */
export const noteOf = (path: string): string => `${path}.json`;

export interface SharedDownloadOptions {
  digest: Digest;
  size: number;
  path: string;
  /** Runs one thing at a time of all that opens or closes this file. */
  exclusive<T>(work: () => Promise<T>): Promise<T>;
  /** Called when nobody holds it any more. */
  onIdle: () => void;
}

/**
 * One file that several may fill and read. Its note is written once a second and when the last holder lets go of bytes that are worth keeping: a later
 * download of the same blob, maybe after a restart, begins with them. Whether they are right is seen at the end, by the digest.
 */
export class SharedDownload {
  readonly digest: Digest;
  readonly size: number;
  readonly path: string;
  readonly #file: FileHandle;
  readonly #options: SharedDownloadOptions;
  #ranges: Range[];
  #writing: Range[] = [];
  #resumed: boolean;
  #holders = 0;
  #keep = false;
  #published = false;
  #generation = 0;
  #notedAt = performance.now();
  #noting: Promise<void> = Promise.resolve();
  #waiting: { beyond: number; resolve: (bytes: number) => void; reject: (error: Error) => void }[] = [];

  private constructor(options: SharedDownloadOptions, file: FileHandle, ranges: Range[]) {
    this.digest = options.digest;
    this.size = options.size;
    this.path = options.path;
    this.#options = options;
    this.#file = file;
    this.#ranges = ranges;
    this.#resumed = ranges.length > 0;
  }

  static async open(options: SharedDownloadOptions): Promise<SharedDownload> {
    const { path, size } = options;
    try {
      const ranges = await notedRanges(path, size);
      return new SharedDownload(options, await open(path, ranges.length === 0 ? "w+" : "r+", 0o600), ranges);
    } catch (error) {
      throw writeError("storing a blob", error);
    }
  }

  /** A new holder. */
  hold(): Download {
    this.#holders++;
    const shared = this;
    let held = true;
    const generation = (): number => this.#generation;
    return {
      digest: this.digest,
      size: this.size,
      path: this.path,
      get received() {
        return shared.#ranges.reduce((sum, { start, end }) => sum + end - start, 0);
      },
      get resumed() {
        return shared.#resumed;
      },
      missing: () => gapsOf(this.#ranges, this.size),
      write: (at, chunks) => this.#write(at, chunks),
      arriving: () => {
        const begun = generation();
        return { path: this.path, size: this.size, more: (beyond) => this.#more(beyond, begun) };
      },
      clear: () => this.#clear(),
      keep: () => void (this.#keep = true),
      published: () => void (this.#published = true),
      [Symbol.asyncDispose]: async () => {
        if (!held) return;
        held = false;
        await this.#options.exclusive(async () => {
          if (--this.#holders === 0) await this.#close();
        });
      },
    };
  }

  get #contiguous(): number {
    const first = this.#ranges[0];
    return first?.start === 0 ? first.end : 0;
  }

  /** Bytes that are there, or on their way, are never written again: somebody may have checked them already. */
  async #write(at: number, chunks: readonly Uint8Array[]): Promise<void> {
    const end = at + lengthOf(chunks);
    if (end > this.size) throw internal(`a write beyond the end of blob ${this.digest}`);
    const taken = this.#writing.reduce(withRange, this.#ranges);
    const wanted = gapsOf(taken, end).filter((gap) => gap.end > at);
    await Promise.all(
      wanted.map(async (gap) => {
        const range = { start: Math.max(gap.start, at), end: gap.end };
        this.#writing.push(range);
        try {
          await this.#writeAll(range, part(chunks, range.start - at, range.end - at));
        } finally {
          this.#writing.splice(this.#writing.indexOf(range), 1);
        }
      }),
    );
    this.#wake();
    // small layers are there within less than the interval, and wait for the whole image then
    if (this.#contiguous === this.size || performance.now() - this.#notedAt > NOTE_INTERVAL) this.#note();
  }

  async #writeAll(range: Range, chunks: readonly Uint8Array[]): Promise<void> {
    const generation = this.#generation;
    let rest = chunks;
    let { start } = range;
    try {
      while (start < range.end) {
        const { bytesWritten } = await this.#file.writev(rest as Uint8Array[], start);
        if (bytesWritten === 0) throw new Error("nothing could be written");
        start += bytesWritten;
        rest = part(rest, bytesWritten, Infinity);
      }
    } catch (error) {
      throw writeError("storing a blob", error);
    }
    if (generation === this.#generation) this.#ranges = withRange(this.#ranges, range);
  }

  #wake(): void {
    const bytes = this.#contiguous;
    const ready = this.#waiting.filter(({ beyond }) => bytes > beyond || bytes === this.size);
    if (ready.length === 0) return;
    this.#waiting = this.#waiting.filter((waiter) => !ready.includes(waiter));
    for (const { resolve } of ready) resolve(bytes);
  }

  #more(beyond: number, generation: number): Promise<number> {
    if (generation !== this.#generation) return Promise.reject(thrownAway());
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    this.#waiting.push({ beyond, resolve, reject });
    this.#wake();
    return promise;
  }

  async #clear(): Promise<void> {
    this.#generation++;
    this.#ranges = [];
    this.#resumed = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { reject } of waiting) reject(thrownAway());
    await this.#noting;
    await rm(noteOf(this.path), { force: true });
    await this.#file.truncate(0);
  }

  /** Fails on a full disk, and then there is nothing to be kept. */
  #note(): void {
    this.#notedAt = performance.now();
    const text = JSON.stringify(this.#ranges.map(({ start, end }) => [start, end]));
    const path = noteOf(this.path);
    this.#noting = this.#noting
      .then(async () => {
        await writeFile(`${path}.new`, text, { mode: 0o600 });
        await rename(`${path}.new`, path);
      })
      .catch(() => {});
  }

  async #close(): Promise<void> {
    this.#options.onIdle();
    const keep = this.#keep && !this.#published && this.#ranges.length > 0;
    if (keep) this.#note();
    await this.#noting;
    if (!keep) for (const path of [noteOf(this.path), ...(this.#published ? [] : [this.path])]) await rm(path, { force: true });
    await this.#file.close();
  }
}

function thrownAway(): Error {
  return internal("the bytes of a download were thrown away");
}

async function notedRanges(path: string, size: number): Promise<Range[]> {
  try {
    const { size: there } = await stat(path);
    return checkedRanges(JSON.parse(await readFile(noteOf(path), "utf8")), Math.min(size, there));
  } catch {
    // No note, or none that can be read: what is in the file is unknown.
    return [];
  }
}

function lengthOf(chunks: readonly Uint8Array[]): number {
  return chunks.reduce((sum, chunk) => sum + chunk.length, 0);
}

/** Bytes [start, end) of the chunks. */
function part(chunks: readonly Uint8Array[], start: number, end: number): Uint8Array[] {
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const chunk of chunks) {
    const piece = chunk.subarray(Math.max(start - at, 0), Math.max(Math.min(end - at, chunk.length), 0));
    if (piece.length > 0) parts.push(piece);
    at += chunk.length;
  }
  return parts;
}
