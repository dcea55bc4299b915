import { closeSync, fdatasyncSync, fstatSync, openSync, writeSync } from "node:fs";
import { reserveBlocks } from "../kernel/sync.ts";
import { isDiskFull } from "../lib/disk-full.ts";
import { hasRoom } from "../lib/disk-room.ts";

/** How far the log reaches beyond its pages, at times half of that: more than an engine under load writes between two checkpoints. */
const LOG_AHEAD_BYTES = 4 << 20;
/** Written at a time, under 0.1 ms: a writer may be waiting. */
const STEP_BYTES = 128 << 10;
/** What the database may grow by while the disk is full. */
const GROWTH_BYTES = 1 << 20;

export interface Reserve extends Disposable {
  /** Makes up for what was used. */
  refill(): void;
}

/**
 * Keeps blocks beyond the end of the database. Without them, and those of the log (`writeLogAhead`), a full disk refuses every transaction, so that nobody could
 * stop or remove a container to make room, and no exit could be written down.
 *
 * To be opened before the database and disposed after its connections: closing any descriptor of a file drops the locks that the process holds on it by others
 * (sqlite.org/howtocorrupt.html, 2.2), and a `sqlite3` that looks into the database would then take the log away from the engine. The log carries no locks.
 */
export function reserveSpace(database: string): Reserve {
  const fd = openSync(database, "r+");
  return {
    refill: () => {
      try {
        reserveBlocks(fd, fstatSync(fd).size + GROWTH_BYTES);
      } catch (error) {
        // full already, or a file system without reservations: the next checkpoint tries again
        if (!isDiskFull(error) && (error as { code?: string }).code !== "ENOTSUP") throw error;
      }
    },
    [Symbol.dispose]: () => closeSync(fd),
  };
}

/** Whether the next engine can make the log and its index anew. Where it can't they stay for it: without them it wouldn't start, and nobody could make room. */
export function hasRoomForLog(database: string): boolean {
  return hasRoom(database, { bytes: 2 * LOG_AHEAD_BYTES, files: 2 });
}

/**
 * Has the write-ahead log end in written blocks of zeros, which SQLite takes for the end of the log. The engine's writes then only replace what is there. Where
 * they made the file grow, or filled blocks that were only reserved, they waited for a file system that was busy giving blocks to others or syncing this file,
 * 20 ms and, beside builds, 0.8 s (ext4, Linux 6.18: i_data_sem, and the last page, which a sync keeps locked while it waits for the journal).
 *
 * `used`: bytes of the log that hold pages. `alone` runs a step while nobody else can write to the log. With `sync` the new blocks are on the disk afterwards.
 */
export function writeLogAhead(database: string, used: number, { alone, sync }: { alone: (step: () => void) => void; sync: boolean }): void {
  let fd: number;
  try {
    fd = openSync(`${database}-wal`, "r+");
  } catch (error) {
    // the log appears with the first transaction
    if ((error as { code?: string }).code === "ENOENT") return;
    throw error;
  }
  try {
    if (fstatSync(fd).size >= used + LOG_AHEAD_BYTES / 2) return;
    const zeros = Buffer.alloc(STEP_BYTES);
    let more = true;
    while (more) {
      alone(() => {
        const { size } = fstatSync(fd);
        // shorter than its pages: the engine that stops has emptied it meanwhile, for good
        more = size >= used && size < used + LOG_AHEAD_BYTES;
        if (more) writeSync(fd, zeros, 0, zeros.length, size);
      });
    }
    if (sync) fdatasyncSync(fd);
  } catch (error) {
    // the next checkpoint tries again
    if (!isDiskFull(error)) throw error;
  } finally {
    closeSync(fd);
  }
}
