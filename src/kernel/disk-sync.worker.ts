import { messageOf } from "../lib/errors.ts";
import { AT_FDCWD, closeFd, O, openAt } from "./fs.ts";
import { syncFileSystem } from "./sync.ts";
import type { SyncAnswer, SyncRequest } from "./disk-sync.ts";

/** Syncs file systems off the main thread. A failure is an answer: an error thrown here would end the Worker for good. */
declare const self: { addEventListener(type: "message", listener: (event: { data: SyncRequest }) => void): void; postMessage(message: SyncAnswer): void };

self.addEventListener("message", ({ data: { id, path } }) => {
  try {
    const fd = openAt(AT_FDCWD, Buffer.from(path).toString("latin1"), O.RDONLY | O.DIRECTORY);
    try {
      syncFileSystem(fd);
    } finally {
      closeFd(fd);
    }
    self.postMessage({ id, failure: "" });
  } catch (error) {
    self.postMessage({ id, failure: messageOf(error) });
  }
});
