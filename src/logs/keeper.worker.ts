import { rmSync, watch, type FSWatcher } from "node:fs";
import { isDiskFull } from "../lib/disk-full.ts";
import { messageOf } from "../lib/errors.ts";
import { compressFile } from "./compress.ts";
import type { KeeperReply, KeeperRequest } from "./keep.ts";
import type { KeepOptions } from "./types.ts";
import { dropOld, growingMs, mend, nextLook, rotate, rotatedFiles, sizeOf } from "./rotate.ts";

/** The first look at a new log: one that is flooded has some megabytes by then. */
const firstMs = 20;
/** conmon makes its new file at once, if it isn't held up. */
const reopenMs = 2;
/** A missing file that nobody waits for any more: after so long conmon is told again. */
const mendMs = 1000;
/** Whatever is written faster than this is dropped before it is worth compressing. */
const calmMs = 2000;
/** Time between two blocks, for the time that one takes. */
const idleShare = 2;
/** After a failure, such as a full disk. */
const retryMs = 5000;

interface Watched extends KeepOptions {
  logPath: string;
  ctlPath: string;
  lastSize: number;
  /** By the clock of `performance.now()`, as are all times here. */
  lookedAt: number;
  delay: number;
  /** A silent log's first write ends the silence. */
  watcher: FSWatcher | undefined;
  /** Nothing is known yet of what an engine before has left. */
  isNew: boolean;
  /** Renamed and not yet made anew, since then. */
  reopening: number | undefined;
  /** When to look for files to be compressed; Infinity: there are none. */
  compressAt: number;
  isCompressing: boolean;
  /** The container has ended: no rotation any more. */
  hasEnded: boolean;
  /** Its files are being removed. */
  isForgotten: boolean;
  hasWarned: boolean;
}

declare const self: { addEventListener(type: "message", listener: (event: { data: KeeperRequest }) => void): void; postMessage(message: KeeperReply): void };

const all = new Map<string, Watched>();
let timer: ReturnType<typeof setTimeout> | undefined;

self.addEventListener("message", ({ data: request }) => {
  const { logPath } = request;
  const watched = all.get(logPath);
  if (request.kind === "keep") {
    if (watched !== undefined) leave(watched);
    const { kind: _, ...options } = request;
    all.set(logPath, begin(options));
  } else if (request.kind === "ended") {
    if (watched !== undefined) end(watched);
  } else {
    all.delete(logPath);
    if (watched !== undefined) leave(watched);
    // One block is compressed without a break: whoever reads this message isn't in the middle of one.
    self.postMessage({ kind: "forgotten", logPath });
  }
  arm();
});

function begin(options: Omit<Extract<KeeperRequest, { kind: "keep" }>, "kind">): Watched {
  return {
    ...options,
    maxFiles: Math.max(1, options.maxFiles),
    lastSize: 0,
    lookedAt: performance.now(),
    delay: firstMs,
    watcher: undefined,
    isNew: true,
    reopening: undefined,
    compressAt: Infinity,
    isCompressing: false,
    hasEnded: false,
    isForgotten: false,
    hasWarned: false,
  };
}

function leave(watched: Watched): void {
  watched.isForgotten = true;
  wakeUp(watched);
}

/** What was rotated is compressed at once; then the log is nobody's business here. */
function end(watched: Watched): void {
  watched.hasEnded = true;
  wakeUp(watched);
  try {
    if (watched.isNew) takeOver(watched);
  } catch (error) {
    warn(watched, "looking after a log", error);
  }
  if (watched.compressAt === Infinity && !watched.isCompressing) all.delete(watched.logPath);
  else watched.compressAt = performance.now();
}

const dueOf = (watched: Watched): number =>
  Math.min(watched.hasEnded ? Infinity : watched.lookedAt + watched.delay, watched.isCompressing ? Infinity : watched.compressAt);

function arm(): void {
  clearTimeout(timer);
  let due = Infinity;
  for (const watched of all.values()) due = Math.min(due, dueOf(watched));
  if (due !== Infinity) timer = setTimeout(tick, Math.max(0, due - performance.now()));
}

function tick(): void {
  const now = performance.now();
  for (const watched of [...all.values()]) {
    if (!watched.hasEnded && watched.lookedAt + watched.delay <= now) look(watched, now);
    if (!watched.isCompressing && watched.compressAt <= now) void compress(watched);
  }
  arm();
}

function warn(watched: Watched, message: string, error: unknown): void {
  // A directory that went away, with a container that is being removed, is no error; and once is enough.
  if (watched.hasWarned || (error as NodeJS.ErrnoException).code === "ENOENT") return;
  watched.hasWarned = true;
  self.postMessage({ kind: "warn", logPath: watched.logPath, message, error: messageOf(error) });
}

function look(watched: Watched, now: number): void {
  const { logPath, ctlPath, maxSize, lastSize } = watched;
  const elapsed = Math.max(0.1, now - watched.lookedAt);
  wakeUp(watched);
  watched.lookedAt = now;
  try {
    const size = sizeOf(logPath);
    if (watched.isNew) takeOver(watched);
    if (size === undefined) return lookForNewFile(watched, now);
    if (watched.reopening !== undefined) renewed(watched);
    const grown = size - (size < lastSize ? 0 : lastSize);
    watched.delay = nextLook({ size, grown, elapsed, maxSize });
    watched.lastSize = size;
    if (size >= maxSize && rotate(logPath, ctlPath)) {
      self.postMessage({ kind: "rotated", logPath });
      watched.lastSize = 0;
      watched.reopening = now;
      watched.delay = reopenMs;
      watched.hasWarned = false;
    } else if (grown <= 0) {
      listen(watched);
    }
  } catch (error) {
    watched.delay = retryMs;
    warn(watched, "rotating a log", error);
  }
}

/** What an engine before has left: halves of files, and files to be compressed. */
function takeOver(watched: Watched): void {
  const { logPath } = watched;
  watched.isNew = false;
  const files = rotatedFiles(logPath);
  if (files.length === 0) return;
  self.postMessage({ kind: "rotated", logPath });
  for (const { number } of files) rmSync(`${logPath}.${number}.gz.tmp`, { force: true });
  if (watched.compress && files.some((file) => !file.isCompressed && file.size > 0)) watched.compressAt = performance.now() + calmMs;
}

/** Leaves a silent log to inotify: the first write brings it back under watch, before a flood is far. */
function listen(watched: Watched): void {
  try {
    const watcher = watch(watched.logPath, () => stir(watched));
    watcher.on("error", () => stir(watched));
    watched.watcher = watcher;
  } catch {
    // No more watches to be had: it is looked at as often as one that grows.
    watched.delay = growingMs;
    return;
  }
  if ((sizeOf(watched.logPath) ?? 0) !== watched.lastSize) stir(watched);
}

function stir(watched: Watched): void {
  if (watched.watcher === undefined) return;
  wakeUp(watched);
  watched.delay = 0;
  arm();
}

function wakeUp(watched: Watched): void {
  watched.watcher?.close();
  watched.watcher = undefined;
}

/** The file isn't there: at the first look conmon may not have made it yet, and after a rotation it has still to read its fifo. */
function lookForNewFile(watched: Watched, now: number): void {
  watched.reopening ??= now;
  watched.delay = Math.min(Math.max(reopenMs, now - watched.reopening), growingMs);
  if (now - watched.reopening < mendMs) return;
  mend(watched.logPath, watched.ctlPath);
  watched.reopening = now;
}

/** conmon writes to the new file: the one before is complete. */
function renewed(watched: Watched): void {
  watched.reopening = undefined;
  dropOld(watched.logPath, watched);
  if (watched.compress) watched.compressAt = performance.now() + calmMs;
}

/** Compresses what has been at rest for a while, oldest first. */
async function compress(watched: Watched): Promise<void> {
  const { logPath } = watched;
  watched.compressAt = Infinity;
  if (!watched.compress || (watched.reopening !== undefined && !watched.hasEnded)) return settle(watched);
  watched.isCompressing = true;
  try {
    for (;;) {
      const plain = rotatedFiles(logPath).filter((file) => !file.isCompressed && file.size > 0);
      const next = plain.find((file) => watched.hasEnded || Date.now() - file.modified >= calmMs);
      if (next === undefined) {
        if (plain.length > 0 && !watched.hasEnded) watched.compressAt = performance.now() + calmMs;
        break;
      }
      let began = performance.now();
      for await (const _ of compressFile(next.path, next.size)) {
        if (watched.isForgotten) return;
        // Others are looked at between two blocks, and a container's work comes before this.
        await Bun.sleep(1 + idleShare * (performance.now() - began));
        if (watched.isForgotten) return;
        began = performance.now();
      }
    }
  } catch (error) {
    if (!watched.hasEnded) watched.compressAt = performance.now() + (isDiskFull(error) ? 12 * retryMs : retryMs);
    warn(watched, "compressing a rotated log", error);
  } finally {
    watched.isCompressing = false;
    settle(watched);
  }
}

function settle(watched: Watched): void {
  if (watched.hasEnded && watched.compressAt === Infinity && all.get(watched.logPath) === watched) all.delete(watched.logPath);
  arm();
}
