import { answerCalls } from "../lib/worker-calls.ts";
import { openDirectory } from "./fs.ts";
import { syncFileSystem } from "./sync.ts";

/** Syncs file systems off the main thread. */
answerCalls<string, void>((path) => {
  using directory = openDirectory(path);
  syncFileSystem(directory.fd);
});
