import { constants, Database } from "bun:sqlite";
import { isDiskFull } from "../lib/disk-full.ts";
import { messageOf } from "../lib/errors.ts";
import type { CheckpointFailure } from "./checkpoint.ts";
import { type Reserve, reserveSpace, writeLogAhead } from "./reserve.ts";

/**
 * Moves the write-ahead log into the database off the main thread, and alone begins it anew, so that the engine's connection never syncs (store.ts).
 * Asked with the database's path; answers with nothing when done, else with what kept it from that: an error thrown here would end the Worker for good.
 */
declare const self: {
  addEventListener(type: "message", listener: (event: { data: string }) => void): void;
  postMessage(message: CheckpointFailure | undefined): void;
};

/** A page of the database in the log, with its header (sqlite.org/fileformat2.html#wal_file_format). */
const LOG_PAGE_BYTES = 4096 + 24;
/** Pages in the log from which it is begun anew: this takes a sync that a writer may have to wait for, so it happens seldom. */
const restartAbove = 1000;
/** Pages from which the log is cut at any price: a writer that never pauses for as long as a checkpoint takes would have it grow for ever. */
const cutAbove = 64_000;

let log: Log | undefined;

self.addEventListener("message", ({ data: path }) => {
  try {
    log ??= openLog(path);
    const { writer, reserve } = log;
    const pages = checkpoint(log);
    if (pages > 0) writeLogAhead(path, pages * LOG_PAGE_BYTES, { alone: (step) => politely(writer, step), sync: true });
    reserve.refill();
    self.postMessage(undefined);
  } catch (error) {
    self.postMessage({ message: messageOf(error), isDiskFull: isDiskFull(error) });
  }
});

interface Log {
  reserve: Reserve;
  writer: Database;
  /**
   * Holds a snapshot within the log. A writer begins a log anew, over its old pages, when all of them are in the database and nobody reads
   * any (sqlite.org/fileformat2.html#wal_file_format, "WAL reset"): the snapshot keeps the engine's connection, which doesn't sync, from that.
   */
  reader: Database;
}

function openLog(path: string): Log {
  const open = (): Database => {
    const db = new Database(path, { readwrite: true, create: false });
    db.run("PRAGMA wal_autocheckpoint = 0");
    db.run("PRAGMA busy_timeout = 5000");
    // it is the engine's connection that says whether the log stays, but these are closed last, at the process's end
    db.fileControl(constants.SQLITE_FCNTL_PERSIST_WAL, 1);
    return db;
  };
  const reserve = reserveSpace(path);
  const writer = open();
  writer.run("PRAGMA synchronous = NORMAL");
  const opened = { reserve, writer, reader: open() };
  holdSnapshot(opened.reader);
  return opened;
}

/** A snapshot of the log as it is now: what came later isn't checkpointed until the next. Only while the log has pages that aren't in the database. */
function holdSnapshot(reader: Database): void {
  if (reader.inTransaction) reader.run("ROLLBACK");
  reader.run("BEGIN");
  reader.query("SELECT 1 FROM sqlite_schema LIMIT 1").get();
}

/** How many pages the log has. */
function checkpoint(opened: Log): number {
  const before = move(opened.writer, "PASSIVE");
  if (before.pages === before.moved) return before.pages;
  holdSnapshot(opened.reader);
  const { pages, moved } = move(opened.writer, "PASSIVE");
  if (pages === moved && pages > restartAbove) restart(opened);
  else if (pages > cutAbove) cut(opened);
  return pages;
}

function move(writer: Database, mode: "PASSIVE" | "TRUNCATE"): { pages: number; moved: number } {
  const row = writer.query(`PRAGMA wal_checkpoint(${mode})`).get() as { log: number; checkpointed: number };
  return { pages: row.log, moved: row.checkpointed };
}

/** With the write lock held the first page of the new log is written and synced, if nobody came in between; else one more page of the old one. */
function restart({ writer, reader }: Log): void {
  try {
    locked(writer, () => {
      reader.run("ROLLBACK");
      const { user_version: version } = writer.query("PRAGMA user_version").get() as { user_version: number };
      writer.run(`PRAGMA user_version = ${version}`);
      writer.run("COMMIT");
    });
  } finally {
    holdSnapshot(reader);
  }
}

/** SQLite's first wait for a lock is 1 ms, its next ones are longer: whoever waits comes in between two steps. */
function politely(writer: Database, step: () => void): void {
  locked(writer, step);
  Bun.sleepSync(2);
}

/** `work` while nobody else writes; what it doesn't commit is forgotten. */
function locked(writer: Database, work: () => void): void {
  writer.run("BEGIN IMMEDIATE");
  try {
    work();
  } finally {
    if (writer.inTransaction) writer.run("ROLLBACK");
  }
}

/** Writers wait for it. No old page stays in the file that a power loss could bring back. */
function cut({ writer, reader }: Log): void {
  reader.run("ROLLBACK");
  try {
    move(writer, "TRUNCATE");
  } finally {
    holdSnapshot(reader);
  }
}
