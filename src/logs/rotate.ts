import { open, rename, rm, stat } from "node:fs/promises";
import { constants } from "node:fs";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";

const tickMs = 1000;
/** A log that doesn't grow is looked at less and less often, down to once in so many ticks. */
const longestPause = 8;

interface Watched {
  logPath: string;
  ctlPath: string;
  maxSize: number;
  maxFiles: number;
  lastSize: number;
  pause: number;
  wait: number;
  isGone: boolean;
}

export interface Rotator {
  add(logPath: string, ctlPath: string, options: { maxSize: number; maxFiles: number }): Disposable;
}

/** Looks at the size of all running logs, by one timer that runs only while there are any. */
export function createRotator({ log }: { log: Logger }): Rotator {
  const all = new Set<Watched>();
  let timer: ReturnType<typeof setInterval> | undefined;
  let isBusy = false;

  const tick = async (): Promise<void> => {
    if (isBusy) return;
    isBusy = true;
    try {
      for (const watched of all) await look(watched, log);
    } finally {
      isBusy = false;
    }
  };
  return {
    add(logPath, ctlPath, { maxSize, maxFiles }) {
      const watched: Watched = { logPath, ctlPath, maxSize, maxFiles: Math.max(1, maxFiles), lastSize: -1, pause: 1, wait: 1, isGone: false };
      all.add(watched);
      timer ??= setInterval(() => void tick(), tickMs);
      timer.unref();
      return {
        [Symbol.dispose]: () => {
          watched.isGone = true;
          all.delete(watched);
          if (all.size > 0) return;
          clearInterval(timer);
          timer = undefined;
        },
      };
    },
  };
}

async function look(watched: Watched, log: Logger): Promise<void> {
  if (--watched.wait > 0) return;
  try {
    const size = await sizeOf(watched.logPath);
    watched.pause = size === watched.lastSize ? Math.min(watched.pause * 2, longestPause) : 1;
    watched.wait = watched.pause;
    watched.lastSize = size ?? -1;
    if (watched.isGone) return;
    // Renamed and not yet made anew: the monitor didn't get the word (the engine died in between).
    if (size === undefined) await reopen(watched.ctlPath);
    else if (size > watched.maxSize) await rotateOnce(watched.logPath, watched.ctlPath, watched.maxFiles);
  } catch (error) {
    log.warn("rotating a log", { log: watched.logPath, error: messageOf(error) });
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/**
 * `log.N-1` goes, the others move up by one, `log` becomes `log.1`; then conmon is told to open `log` again. The rename must come first: without
 * it conmon replaces the file, and what is in it is lost. With one file the renamed one goes too, once conmon has left it.
 */
export async function rotateOnce(logPath: string, ctlPath: string, maxFiles: number): Promise<void> {
  await rm(`${logPath}.${Math.max(1, maxFiles - 1)}`, { force: true });
  for (let number = maxFiles - 2; number >= 1; number--) {
    await rename(`${logPath}.${number}`, `${logPath}.${number + 1}`).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    });
  }
  await rename(logPath, `${logPath}.1`);
  await reopen(ctlPath);
  if (maxFiles > 1) return;
  for (let tries = 0; tries < 20; tries++) {
    if ((await sizeOf(logPath)) !== undefined) return await rm(`${logPath}.1`, { force: true });
    await Bun.sleep(10);
  }
}

/** `2 0 0` in conmon's control fifo: open the log again. Nothing where the monitor is gone. */
async function reopen(ctlPath: string): Promise<void> {
  let handle;
  try {
    handle = await open(ctlPath, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENXIO" || code === "ENOENT") return;
    throw error;
  }
  try {
    await handle.write("2 0 0\n");
  } finally {
    await handle.close();
  }
}
