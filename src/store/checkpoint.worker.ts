import { Database } from "bun:sqlite";
import { messageOf } from "../lib/errors.ts";
import { reserveSpace } from "./reserve.ts";

/**
 * Moves the write-ahead log into the database off the main thread. Asked with the database's path; answers with an empty text when done, else
 * with what kept it from that: an error thrown here would end the Worker for good.
 */
declare const self: { addEventListener(type: "message", listener: (event: { data: string }) => void): void; postMessage(message: string): void };

let db: Database | undefined;

self.addEventListener("message", ({ data: path }) => {
  try {
    db ??= new Database(path, { readwrite: true, create: false });
    db.run("PRAGMA wal_checkpoint(PASSIVE)");
    reserveSpace(path);
    self.postMessage("");
  } catch (error) {
    self.postMessage(messageOf(error));
  }
});
