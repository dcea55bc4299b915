import { currentNumber, openFrom, openSegment, segmentNumbers, type Segment } from "./segments.ts";
import { statSync } from "node:fs";
import type { LogPosition } from "./types.ts";

/** A reader that takes nothing for so long holds no file open: one that has been dropped meanwhile would still take its room on the disk. */
const patienceMs = 1000;

/** A place in a log, and its file, open: a flood may drop it before it is read. */
export interface OpenPosition extends LogPosition {
  file: Segment;
}

/** Where the log ends now; undefined where there is none. The file is the caller's to dispose. */
export async function endOf(logPath: string): Promise<OpenPosition | undefined> {
  for (;;) {
    const last = (await segmentNumbers(logPath)).at(-1);
    if (last === undefined) return undefined;
    const file = await openSegment(logPath, last);
    if (file !== undefined) return { segment: last, offset: file.size(), file };
  }
}

/** Reads the text of a log from a place on, from file to file. What was dropped before it was read is passed over. */
export class Cursor implements AsyncDisposable {
  readonly #logPath: string;
  readonly #end: LogPosition | undefined;
  readonly #onNextFile: (isGap: boolean) => void;
  readonly #memory: Buffer;
  #segment: number;
  #offset: number;
  #file: Segment | undefined;
  #idle: ReturnType<typeof setTimeout> | undefined;

  /**
   * Not beyond `end`, where it is given. `memory` is for all pieces: new ones would keep the garbage collector busy, which stops everything.
   * `onNextFile` is told when the text goes on in another file, and whether some before it was dropped.
   */
  constructor(
    logPath: string,
    start: LogPosition & { file?: Segment },
    options: { end?: LogPosition | undefined; memory: Buffer; onNextFile: (isGap: boolean) => void },
  ) {
    this.#logPath = logPath;
    this.#segment = start.segment;
    this.#offset = start.offset;
    this.#file = start.file;
    this.#end = options.end;
    this.#memory = options.memory;
    this.#onNextFile = options.onNextFile;
  }

  get position(): LogPosition {
    return { segment: this.#segment, offset: this.#offset };
  }

  /** The next piece; undefined where nothing more is there now. Its memory is used again at the next call. */
  async read(): Promise<Buffer | undefined> {
    for (;;) {
      const file = (this.#file ??= await this.#open());
      if (file === undefined || file.number > (this.#end?.segment ?? Infinity)) return undefined;
      // Asked before the reading: what was written before its completion is read after it.
      const isComplete = file.isComplete();
      const room = this.#end?.segment === file.number ? this.#end.offset - this.#offset : Infinity;
      const piece = room <= 0 ? undefined : await file.read(this.#offset, this.#memory);
      if (piece !== undefined && piece.length > 0) {
        const part = piece.length > room ? piece.subarray(0, room) : piece;
        this.#offset += part.length;
        return part;
      }
      if (file.number >= (this.#end?.segment ?? Infinity)) return undefined;
      if (file.size() < this.#offset) {
        // Somebody emptied it by hand: conmon goes on at its beginning.
        this.#begin(file, true);
        continue;
      }
      if (!isComplete) return undefined;
      const next = (await openFrom(this.#logPath, file.number + 1)) ?? (await this.#anew());
      if (next === undefined) return undefined;
      await file[Symbol.asyncDispose]();
      this.#begin(next, next.number !== file.number + 1);
    }
  }

  /** It reads the file that is being written. */
  get isAtLatest(): boolean {
    return this.#file === undefined || !this.#file.isComplete();
  }

  /** Without waiting: may there be more to read? */
  hasMore(): boolean {
    if (this.#file === undefined) return statSync(this.#logPath, { throwIfNoEntry: false }) !== undefined;
    return this.#file.size() !== this.#offset || this.#file.isComplete();
  }

  /** While the reader's user is busy with what it got. */
  rest(): void {
    this.#idle ??= setTimeout(() => void this.#close(), patienceMs);
  }

  resume(): void {
    clearTimeout(this.#idle);
    this.#idle = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.resume();
    await this.#close();
  }

  async #open(): Promise<Segment | undefined> {
    const same = await openSegment(this.#logPath, this.#segment);
    if (same !== undefined) return same;
    const next = await openFrom(this.#logPath, this.#segment);
    const found = next ?? (await this.#anew());
    if (found !== undefined) this.#begin(found, this.#segment > 0);
    return found;
  }

  /** Where the log was removed by hand and conmon has made it anew: its numbers may begin anew, too. Those before the new one have been read, or are gone. */
  async #anew(): Promise<Segment | undefined> {
    const number = await currentNumber(this.#logPath);
    return number === undefined || number > this.#segment ? undefined : await openSegment(this.#logPath, number);
  }

  #begin(file: Segment, isGap: boolean): void {
    this.#file = file;
    this.#segment = file.number;
    this.#offset = 0;
    this.#onNextFile(isGap);
  }

  async #close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.[Symbol.asyncDispose]();
  }
}
