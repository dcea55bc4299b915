import { chmodSync, closeSync, openSync } from "node:fs";
import { constants, Database } from "bun:sqlite";
import { isDiskFull } from "../lib/disk-full.ts";
import { unavailable } from "../lib/errors.ts";
import { recordsError } from "./damage.ts";
import { hasRoomForLog, reserveSpace, writeLogAhead } from "./reserve.ts";

/** A step of the schema, applied once, in order, never edited after it has landed. */
export interface Migration {
  id: number;
  sql: string;
}

/**
 * The one database connection. WAL; nothing on it ever waits for the disk: a Worker checkpoints and syncs within a second, and alone begins the log anew, which is
 * where SQLite would sync otherwise (checkpoint.worker.ts). Power loss may lose the last second, never consistency; kill -9 loses nothing that was committed.
 */
export interface Store extends Disposable {
  readonly db: Database;
  readonly path: string;
  /**
   * Runs `work` in one transaction (BEGIN IMMEDIATE; nested calls join the outer one). `work` is synchronous. Callbacks given
   * to `afterCommit` inside it run once the outermost transaction has committed, in order; they are dropped on rollback.
   */
  tx<T>(work: () => T): T;
  /** Runs `callback` after the running transaction's commit, or at once where there is none. */
  afterCommit(callback: () => void): void;
  /** Calls `listener`, instead of the one before, after each commit of a `tx`. */
  watchCommits(listener: () => void): void;
}

/**
 * Opens or makes the database at `path` and applies `migrations`. Only its owner reads it, since containers' variables stand in it; SQLite gives
 * the files beside it the same mode. @throws when the file is of a newer Berth, or damaged.
 */
export function openStore(path: string, migrations: readonly Migration[]): Store {
  closeSync(openSync(path, "a", 0o600));
  chmodSync(path, 0o600);
  const reserve = reserveSpace(path);
  const db = new Database(path, { create: true, strict: true });
  try {
    db.run("PRAGMA journal_mode = WAL");
    db.run("PRAGMA wal_autocheckpoint = 0");
    db.run("PRAGMA foreign_keys = ON");
    db.run("PRAGMA busy_timeout = 5000");
    migrate(db, migrations);
    db.run("PRAGMA synchronous = OFF");
  } catch (error) {
    db.close();
    reserve[Symbol.dispose]();
    throw recordsError(path, error);
  }
  reserve.refill();
  writeLogAhead(path, 0, { alone: (step) => step(), sync: false });

  let depth = 0;
  let pending: (() => void)[] = [];
  let watcher = (): void => {};
  const tx = <T>(work: () => T): T => {
    if (depth > 0) return work();
    db.run("BEGIN IMMEDIATE");
    depth++;
    let result: T;
    try {
      result = work();
      db.run("COMMIT");
    } catch (error) {
      pending = [];
      if (db.inTransaction) db.run("ROLLBACK");
      if ((error as { code?: unknown }).code === "SQLITE_FULL") throw unavailable(`no space left on device: the records in ${path} can't be written`, error);
      throw error;
    } finally {
      depth--;
    }
    watcher();
    const callbacks = pending;
    pending = [];
    for (const callback of callbacks) callback();
    return result;
  };
  return {
    db,
    path,
    tx,
    afterCommit: (callback) => {
      if (depth > 0) pending.push(callback);
      else callback();
    },
    watchCommits: (listener) => void (watcher = listener),
    [Symbol.dispose]: () => {
      try {
        const stays = !hasRoomForLog(path);
        if (stays) db.fileControl(constants.SQLITE_FCNTL_PERSIST_WAL, 1);
        db.run("PRAGMA synchronous = FULL");
        moveLog(db, stays ? "FULL" : "TRUNCATE");
      } catch (error) {
        // then they stay in the log, which the next start reads
        if (!isDiskFull(error)) throw error;
      } finally {
        db.close();
        // the last checkpoint gave it back
        reserve.refill();
        reserve[Symbol.dispose]();
      }
    },
  };
}

/** How often a checkpoint of the Worker's that is under way is waited for, every 5 ms. */
const TRIES = 1000;

/** SQLite gives up at once, whatever its busy_timeout, where another connection is in a checkpoint (sqlite.org/c3ref/wal_checkpoint_v2.html): the Worker's last. */
function moveLog(db: Database, mode: "FULL" | "TRUNCATE"): void {
  const checkpoint = db.query(`PRAGMA wal_checkpoint(${mode})`);
  for (let left = TRIES; left > 0 && (checkpoint.get() as { busy: number }).busy !== 0; left--) Bun.sleepSync(5);
}

function migrate(db: Database, migrations: readonly Migration[]): void {
  const { user_version: version } = db.query("PRAGMA user_version").get() as { user_version: number };
  const newest = migrations.at(-1)?.id ?? 0;
  if (version > newest) throw new Error(`the data root was written by a newer Berth (schema ${version}, this one knows ${newest})`);
  for (const migration of migrations) {
    if (migration.id <= version) continue;
    db.transaction(() => {
      db.run(migration.sql);
      db.run(`PRAGMA user_version = ${migration.id}`);
    })();
  }
}
