import { rm } from "node:fs/promises";
import type { Logger } from "../lib/log.ts";
import { rotatedNumbers } from "./files.ts";
import { readLog } from "./read.ts";
import { createRotator } from "./rotate.ts";
import type { Logs } from "./types.ts";

/** Reading and rotating of k8s-file logs. */
export function createLogs({ log }: { log: Logger }): Logs {
  const rotator = createRotator({ log });
  return {
    read: readLog,
    rotate: (logPath, ctlPath, options) => rotator.add(logPath, ctlPath, options),
    async remove(logPath) {
      for (const number of await rotatedNumbers(logPath)) await rm(`${logPath}.${number}`, { force: true });
      await rm(logPath, { force: true });
    },
  };
}
