import { closeSync, constants, openSync, readFileSync, readSync, writeSync } from "node:fs";
import type { LogPosition } from "./types.ts";

/** How far a log has been forwarded: a place where a line begins, and records from there on. */
export interface Sent {
  from: LogPosition;
  records: number;
}

const size = 24;

/** The file that keeps account of a log. */
export const progressPath = (logPath: string): string => `${logPath}.sent`;

/** The number of the file that is being sent; 0 where nothing was sent yet. */
export function sentSegment(logPath: string): number {
  try {
    const found = readFileSync(progressPath(logPath));
    return found.length === size ? found.readUInt32LE(0) : 0;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw error;
  }
}

/**
 * Keeps `Sent` in a file: one write of 24 bytes right after each message, so that an engine killed at any instant but that between the two calls
 * neither loses nor repeats one. It lies in the page cache at once; only a power failure goes back some seconds.
 */
export class Progress implements Disposable {
  readonly #fd: number;
  readonly #buffer = Buffer.alloc(size);
  readonly start: Sent;

  /** @throws where the disk is full */
  constructor(path: string) {
    // Neither truncated nor appended to.
    this.#fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    const found = readSync(this.#fd, this.#buffer, 0, size, 0) === size;
    this.start = {
      from: found ? { segment: this.#buffer.readUInt32LE(0), offset: Number(this.#buffer.readBigUInt64LE(8)) } : { segment: 0, offset: 0 },
      records: found ? Number(this.#buffer.readBigUInt64LE(16)) : 0,
    };
  }

  write({ from, records }: Sent): void {
    this.#buffer.writeUInt32LE(from.segment, 0);
    this.#buffer.writeBigUInt64LE(BigInt(from.offset), 8);
    this.#buffer.writeBigUInt64LE(BigInt(records), 16);
    writeSync(this.#fd, this.#buffer, 0, size, 0);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
