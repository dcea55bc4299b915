import { answerCalls } from "../lib/worker-calls.ts";
import { AT_FDCWD, closeFd, O, openAt } from "./fs.ts";
import { syncFileSystem } from "./sync.ts";

/** Syncs file systems off the main thread. */
answerCalls<string, void>((path) => {
  const fd = openAt(AT_FDCWD, Buffer.from(path).toString("latin1"), O.RDONLY | O.DIRECTORY);
  try {
    syncFileSystem(fd);
  } finally {
    closeFd(fd);
  }
});
