import { renameSync } from "node:fs";
import { join } from "node:path";
import { isDiskFull } from "../lib/disk-full.ts";
import { internal, kindOf, messageOf, unavailable } from "../lib/errors.ts";
import { createPause, type Pause, WORKER_PIECE } from "../lib/turns.ts";
import { openDirectory } from "../kernel/fs.ts";
import { removeMountedFile, unmount } from "../kernel/mount.ts";
import { syncFileSystem } from "../kernel/sync.ts";
import { cloneTree } from "./clone-tree.ts";
import { copyIn } from "./copy-in-job.ts";
import { changesOf, sizeOf } from "./diff.ts";
import { LeansOnParents } from "./leans.ts";
import { MergedView } from "./merged.ts";
import { copyOut, pack, treeTar } from "./pack-jobs.ts";
import { realDirectory, statPath } from "./path.ts";
import { BATCH, type Job, type Request, type Response, type Results } from "./protocol.ts";
import { Root } from "./root.ts";
import { progressOf, RunningJob, type Start } from "./running-job.ts";
import { removeTree } from "./tree.ts";
import { unmountError } from "./unmount-error.ts";
import { BadSource, unpack } from "./unpack-job.ts";

/** The Worker behind snapshots.ts: everything about layers that reads or writes many files, or may wait for the disk. */

declare const self: {
  addEventListener(type: "message", listener: (event: { data: Request }) => void): void;
  postMessage(message: Response, transfer?: ArrayBuffer[]): void;
};

const jobs = new Map<number, RunningJob>();

self.addEventListener("message", ({ data }) => {
  if (data.type !== "start") return jobs.get(data.id)?.receive(data);
  const running = new RunningJob(data, (message, transfer) => self.postMessage(message, transfer));
  jobs.set(data.id, running);
  void run(running, data).finally(() => jobs.delete(data.id));
});

async function run(running: RunningJob, start: Start): Promise<void> {
  try {
    const result = await perform(running, start);
    await running.end();
    running.post({ type: "done", result });
  } catch (error) {
    const leans = error instanceof LeansOnParents ? { code: "leans" as const } : {};
    const { cause, blob } = error instanceof BadSource ? error : { cause: error, blob: undefined };
    running.post({ type: "failed", kind: kindOf(cause), message: messageOf(cause), ...leans, ...(blob !== undefined && { blob }) });
  }
}

async function perform(running: RunningJob, { job, lent, busy }: Start): Promise<Results[Job["op"]]> {
  switch (job.op) {
    case "unpack":
      return await unpack(running, job);
    case "pack":
      return await pack(running, job);
    case "stat":
    case "resolve": {
      using root = new Root(job.root);
      return job.op === "stat" ? statPath(root, job.path) : realDirectory(root, job.path);
    }
    case "copyOut":
      return await copyOut(running, job);
    case "copyIn":
      return await copyIn(running, job, lent);
    case "treeTar":
      return await treeTar(running, job);
    case "clone":
      return await clone(running, job);
    case "changes": {
      using below = new MergedView(job.parents);
      using tree = openDirectory(job.tree);
      const changes = await running.inSlices(changesOf(tree.fd, below));
      for (let at = 0; at < changes.length; at += BATCH) {
        await running.send(new TextEncoder().encode(JSON.stringify(changes.slice(at, at + BATCH))));
      }
      return undefined;
    }
    case "size": {
      using tree = openDirectory(job.tree);
      return await running.inSlices(sizeOf(tree.fd));
    }
    case "remove": {
      using directory = openDirectory(job.directory);
      await running.inSlices(removeTree(directory.fd, job.name), busy && givingWay(busy));
      return undefined;
    }
    case "setAside":
      return await running.inSlices(setAside(job));
    case "unmount":
      try {
        if (job.file) removeMountedFile(job.target);
        else unmount(job.target, { lazy: job.lazy });
      } catch (error) {
        throw unmountError(job.target, error);
      }
      return undefined;
  }
}

function* setAside({ root, trash, names, mark }: Job & { op: "setAside" }): Generator<void, Results["setAside"], undefined> {
  const moved: Results["setAside"] = [];
  for (const name of names) {
    const aside = `${name.replaceAll("/", "-")}.${mark}`;
    try {
      renameSync(join(root, name), join(trash, aside));
      moved.push(aside);
    } catch (error) {
      if ((error as { code?: string }).code !== "ENOENT") throw internal(`removing snapshot files ${name}: ${messageOf(error)}`, error);
      moved.push(undefined);
    }
    yield;
  }
  return moved;
}

/** How long one removal gives way, altogether, and how often it looks whether it still has to, in milliseconds. */
const wayGiven = { most: 5000, each: 50 };

/** Lets what somebody waits for go on first, and messages in. */
function givingWay(busy: Int32Array): Pause {
  const breathe = createPause({ piece: WORKER_PIECE });
  let left = wayGiven.most;
  const give = async (): Promise<void> => {
    for (; left > 0 && Atomics.load(busy, 0) > 0; left -= wayGiven.each) await Bun.sleep(wayGiven.each);
  };
  return () => (left > 0 && Atomics.load(busy, 0) > 0 ? give() : breathe());
}

async function clone(running: RunningJob, job: Job & { op: "clone" }): Promise<undefined> {
  let bytes = 0;
  const tell = progressOf(running);
  try {
    using from = openDirectory(job.from);
    using to = openDirectory(job.to);
    await cloneTree(from.fd, to.fd, { breathe: running.breather(), copied: (more) => tell((bytes += more)) });
    syncFileSystem(to.fd);
    return undefined;
  } catch (error) {
    throw isDiskFull(error) ? unavailable(messageOf(error), error) : error;
  }
}
