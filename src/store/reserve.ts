import { closeSync, fstatSync, openSync } from "node:fs";
import { reserveBlocks } from "../kernel/sync.ts";
import { isDiskFull } from "../lib/disk-full.ts";

/** The write-ahead log starts over at each checkpoint: some hundred transactions lie between two. */
const LOG_BYTES = 4 << 20;
/** What the database may grow by while the disk is full. */
const GROWTH_BYTES = 1 << 20;

/**
 * Keeps blocks beyond the ends of the database and its log. Without them a full disk refuses every transaction, so that nobody could stop or
 * remove a container to make room, and no exit could be written down.
 */
export function reserveSpace(database: string): void {
  reserve(`${database}-wal`, () => LOG_BYTES);
  reserve(database, (size) => size + GROWTH_BYTES);
}

function reserve(path: string, bytes: (size: number) => number): void {
  let fd: number;
  try {
    fd = openSync(path, "r+");
  } catch (error) {
    // the log appears with the first transaction
    if ((error as { code?: string }).code === "ENOENT") return;
    throw error;
  }
  try {
    reserveBlocks(fd, bytes(fstatSync(fd).size));
  } catch (error) {
    // full already, or a file system without reservations: the next checkpoint tries again
    if (!isDiskFull(error) && (error as { code?: string }).code !== "ENOTSUP") throw error;
  } finally {
    closeSync(fd);
  }
}
