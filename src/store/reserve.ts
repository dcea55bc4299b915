import { closeSync, fstatSync, openSync } from "node:fs";
import { reserveBlocks } from "../kernel/sync.ts";
import { isDiskFull } from "../lib/disk-full.ts";

/** The write-ahead log begins anew when it has reached about this (checkpoint.worker.ts). */
const LOG_BYTES = 4 << 20;
/** What the database may grow by while the disk is full. */
const GROWTH_BYTES = 1 << 20;

export interface Reserve extends Disposable {
  /** Makes up for what was used. */
  refill(): void;
}

/**
 * Keeps blocks beyond the ends of the database and its log. Without them a full disk refuses every transaction, so that nobody could stop or remove a
 * container to make room, and no exit could be written down.
 *
 * To be opened before the database and disposed after its connections: closing any descriptor of a file drops the locks that the process holds on it by others
 * (sqlite.org/howtocorrupt.html, 2.2), and a `sqlite3` that looks into the database would then take the log away from the engine. The log carries no locks.
 */
export function reserveSpace(database: string): Reserve {
  const fd = openSync(database, "r+");
  return {
    refill: () => {
      reserveLog(`${database}-wal`);
      reserveUpTo(fd, fstatSync(fd).size + GROWTH_BYTES);
    },
    [Symbol.dispose]: () => closeSync(fd),
  };
}

function reserveLog(path: string): void {
  let fd: number;
  try {
    fd = openSync(path, "r+");
  } catch (error) {
    // the log appears with the first transaction
    if ((error as { code?: string }).code === "ENOENT") return;
    throw error;
  }
  try {
    reserveUpTo(fd, LOG_BYTES);
  } finally {
    closeSync(fd);
  }
}

function reserveUpTo(fd: number, bytes: number): void {
  try {
    reserveBlocks(fd, bytes);
  } catch (error) {
    // full already, or a file system without reservations: the next checkpoint tries again
    if (!isDiskFull(error) && (error as { code?: string }).code !== "ENOTSUP") throw error;
  }
}
