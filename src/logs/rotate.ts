import { open, rename, rm, stat } from "node:fs/promises";
import { constants } from "node:fs";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";

/** The first look at a new log: one that is flooded has some ten megabytes by then. */
const firstMs = 100;
/** Between two looks: a flood of 250 MB/s is rotated at about one and a half times its limit; one that doesn't grow costs next to nothing. */
const shortestMs = 25;
const growingMs = 1000;
const silentMs = 8000;

interface Watched {
  logPath: string;
  ctlPath: string;
  maxSize: number;
  maxFiles: number;
  lastSize: number;
  /** By the clock of `performance.now()`. */
  lookedAt: number;
  delay: number;
  isGone: boolean;
}

export interface Rotator {
  add(logPath: string, ctlPath: string, options: { maxSize: number; maxFiles: number }): Disposable;
}

/** Looks at the size of all running logs, by one timer that runs only while there are any. */
export function createRotator({ log }: { log: Logger }): Rotator {
  const all = new Set<Watched>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let armedFor = Infinity;
  let isBusy = false;

  const dueOf = ({ lookedAt, delay }: Watched): number => lookedAt + delay;
  const arm = (): void => {
    clearTimeout(timer);
    armedFor = Infinity;
    for (const watched of all) armedFor = Math.min(armedFor, dueOf(watched));
    if (armedFor === Infinity) return;
    timer = setTimeout(() => void tick(), Math.max(0, armedFor - performance.now()));
    timer.unref();
  };
  const tick = async (): Promise<void> => {
    isBusy = true;
    try {
      const now = performance.now();
      for (const watched of all) if (dueOf(watched) <= now) await look(watched, log);
    } finally {
      isBusy = false;
      arm();
    }
  };
  return {
    add(logPath, ctlPath, { maxSize, maxFiles }) {
      const watched: Watched = {
        logPath,
        ctlPath,
        maxSize,
        maxFiles: Math.max(1, maxFiles),
        lastSize: 0,
        lookedAt: performance.now(),
        delay: firstMs,
        isGone: false,
      };
      all.add(watched);
      if (!isBusy && dueOf(watched) < armedFor) arm();
      return {
        [Symbol.dispose]: () => {
          watched.isGone = true;
          all.delete(watched);
          if (all.size === 0 && !isBusy) arm();
        },
      };
    },
  };
}

/**
 * Milliseconds until the next look at a log that grew by `grown` bytes in `elapsed` ms: until it has grown by half its limit at that speed; one
 * that didn't grow is looked at less and less often.
 */
export function nextLook({ grown, elapsed, maxSize, delay }: { grown: number; elapsed: number; maxSize: number; delay: number }): number {
  if (grown <= 0) return Math.min(delay * 2, silentMs);
  return Math.min(Math.max((maxSize / 2 / grown) * elapsed, shortestMs), growingMs);
}

async function look(watched: Watched, log: Logger): Promise<void> {
  const { logPath, ctlPath, maxSize, maxFiles, lastSize, lookedAt, delay } = watched;
  watched.lookedAt = performance.now();
  try {
    const size = await sizeOf(logPath);
    if (watched.isGone) return;
    const elapsed = Math.max(1, watched.lookedAt - lookedAt);
    watched.delay = nextLook({ grown: (size ?? 0) - lastSize, elapsed, maxSize, delay });
    watched.lastSize = size ?? 0;
    // Renamed and not yet made anew: the monitor didn't get the word (the engine died in between).
    if (size === undefined) return await reopen(ctlPath);
    if (size <= maxSize) return;
    await rotateOnce(logPath, ctlPath, maxFiles);
    watched.lastSize = 0;
  } catch (error) {
    log.warn("rotating a log", { log: logPath, error: messageOf(error) });
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
