import { closeSync, constants, openSync, readdirSync, renameSync, rmSync, statSync, writeSync } from "node:fs";
import { basename, dirname } from "node:path";
import { bytesWaiting } from "../kernel/pipe.ts";
import { isDiskFull } from "../lib/disk-full.ts";
import { sentSegment } from "./progress.ts";
import { numbersAmong } from "./segments.ts";
import type { KeepOptions } from "./types.ts";

/**
 * Rotation, as the thread of keeper.worker.ts does it: with calls that block, since a few microseconds are all they take. Everything holds at
 * whatever instant the engine is killed: a name is changed, then conmon is told; `mend` tells it again.
 */

/** Between two looks: a flood of 250 MB/s writes a megabyte in the shortest time; one that begins just now, ten in the longest. */
const shortestMs = 4;
export const growingMs = 40;
/** inotify tells when it begins to grow: this is but the net below. */
const silentMs = 8000;

/**
 * Milliseconds until the next look at a log of `size` bytes that grew by `grown` of them in `elapsed` ms: until half of what is left to its limit
 * is filled at that speed.
 */
export function nextLook({ size, grown, elapsed, maxSize }: { size: number; grown: number; elapsed: number; maxSize: number }): number {
  if (grown <= 0) return silentMs;
  return Math.min(Math.max((Math.max(0, maxSize - size) / 2 / grown) * elapsed, shortestMs), growingMs);
}

export interface RotatedFile {
  number: number;
  path: string;
  isCompressed: boolean;
  size: number;
  /** Unix milliseconds. */
  modified: number;
}

/** The rotated files of a log, oldest first. Of one that has its compressed form beside it the plain one is removed: a crash came between. */
export function rotatedFiles(logPath: string): RotatedFile[] {
  const directory = dirname(logPath);
  return numbersAmong(readdirSync(directory), basename(logPath)).flatMap(({ number, plain, compressed }) => {
    if (plain && compressed) rmSync(`${logPath}.${number}`, { force: true });
    const path = compressed ? `${logPath}.${number}.gz` : `${logPath}.${number}`;
    const found = statSync(path, { throwIfNoEntry: false });
    return found === undefined ? [] : [{ number, path, isCompressed: compressed, size: found.size, modified: found.mtimeMs }];
  });
}

export function sizeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.size;
}

/**
 * Gives the log the next number and tells conmon to open it anew. The rename must come first: without it conmon replaces the file, and what is in
 * it is lost. False where the monitor is gone: then nothing is done.
 * @throws where the disk is so full that conmon could not make its file, which would be its end
 */
export function rotate(logPath: string, ctlPath: string): boolean {
  const ctl = openControl(ctlPath);
  if (ctl === undefined) return false;
  try {
    makeNewFile(logPath);
    renameSync(logPath, `${logPath}.${(rotatedFiles(logPath).at(-1)?.number ?? 0) + 1}`);
    tellReopen(ctl);
    return true;
  } finally {
    closeSync(ctl);
  }
}

/**
 * For a log that was renamed and not made anew: the engine before may have died in between. conmon is told again only if nothing waits for it in
 * its fifo: told twice, it would replace the new file, and what it wrote into it meanwhile were lost.
 */
export function mend(logPath: string, ctlPath: string): void {
  const ctl = openControl(ctlPath);
  if (ctl === undefined) return;
  try {
    if (bytesWaiting(ctl) > 0 || sizeOf(logPath) !== undefined) return;
    makeNewFile(logPath);
    tellReopen(ctl);
  } finally {
    closeSync(ctl);
  }
}

/** Drops the oldest files until there are as many, and together as big, as they may be. The newest stays, and with it the count. */
export function dropOld(logPath: string, { maxSize, maxFiles, queue }: Omit<KeepOptions, "compress">): void {
  const files = rotatedFiles(logPath);
  let total = files.reduce((sum, file) => sum + file.size, sizeOf(logPath) ?? 0);
  const unsent = queue === undefined ? Infinity : sentSegment(logPath);
  const room = (file: RotatedFile): number => (file.number < unsent ? maxSize * maxFiles : Math.max(maxSize * maxFiles, queue ?? 0));
  const isOneTooMany = (file: RotatedFile): boolean => file.number < unsent && files.length > Math.max(1, maxFiles - 1);
  while (files.length > 1 && (isOneTooMany(files[0] as RotatedFile) || total > room(files[0] as RotatedFile))) {
    const oldest = files.shift() as RotatedFile;
    rmSync(oldest.path, { force: true });
    total -= oldest.size;
  }
  // With one file nothing rotated is kept but its number. A new empty file: who reads the old one still has it.
  const last = files[0];
  if (maxFiles > 1 || last === undefined || last.size === 0 || last.number >= unsent) return;
  const empty = `${logPath}.empty`;
  closeSync(openSync(empty, "w", 0o600));
  renameSync(empty, last.path);
}

/** conmon ends when it can't make this file; made here, it is there. Where the disk is full, the oldest rotated file goes for it. */
function makeNewFile(logPath: string): void {
  const make = (): void => closeSync(openSync(`${logPath}.tmp`, "a", 0o600));
  try {
    make();
  } catch (error) {
    const [oldest, second] = isDiskFull(error) ? rotatedFiles(logPath) : [];
    if (oldest === undefined || second === undefined) throw error;
    rmSync(oldest.path, { force: true });
    make();
  }
}

/** Undefined where the monitor is gone. Opened for both ways, so that what waits in it can be counted; nobody else may be reading. */
function openControl(ctlPath: string): number | undefined {
  try {
    // First as a writer only: that fails where nobody reads.
    closeSync(openSync(ctlPath, constants.O_WRONLY | constants.O_NONBLOCK));
    return openSync(ctlPath, constants.O_RDWR | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENXIO" || code === "ENOENT") return undefined;
    throw error;
  }
}

function tellReopen(ctl: number): void {
  writeSync(ctl, "2 0 0\n");
}
