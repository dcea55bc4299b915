import { Database } from "bun:sqlite";

/** Moves the write-ahead log into the database off the main thread. Asked with the database's path; answers when done. */
declare const self: { addEventListener(type: "message", listener: (event: { data: string }) => void): void; postMessage(message: string): void };

let db: Database | undefined;

self.addEventListener("message", (event) => {
  db ??= new Database(event.data, { readwrite: true, create: false });
  db.run("PRAGMA wal_checkpoint(PASSIVE)");
  self.postMessage("done");
});
