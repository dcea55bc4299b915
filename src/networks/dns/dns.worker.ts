import { type MessagePort as NodePort, receiveMessageOnPort } from "node:worker_threads";
import { clearWakeup } from "../../kernel/eventfd.ts";
import { stable } from "../../kernel/ffi.ts";
import { openNamespaceDoor } from "../../kernel/namespace.ts";
import { createPoller } from "../../kernel/poller.ts";
import { raisePriority } from "../../kernel/priority.ts";
import { messageOf } from "../../lib/errors.ts";
import { Timers } from "../../lib/timers.ts";
import { createService } from "./service.ts";
import type { Change, Report, Start } from "./types.ts";

declare const self: { addEventListener(type: "message", listener: (event: { data: Start }) => void): void; postMessage(report: Report): void };

const SCRATCH = 65_536;
/** After the engine's own loop, before the processes that ask: they wait for it. */
const NICENESS = -5;
/** Of one kind of failure, one line in that time. */
const REPORT_EVERY_MS = 10_000;

/**
 * All containers' resolvers, on a thread and an event loop of their own: however much a container asks, the engine goes on, and however busy the engine
 * is, names are answered. The thread never returns to Bun's event loop: changes are taken from the port by hand, before each answer, so that what the
 * engine has said is done is true for the next question.
 */
function serve({ port, posted, wakeup }: Start): void {
  const timers = new Timers();
  using poller = createPoller();
  using door = openNamespaceDoor();
  const loop = { poller, timers, now: () => performance.now(), scratch: stable(SCRATCH) };
  let reportAt = 0;
  let taken = 0;
  let isEnding = false;

  const hurry = (): void => {
    try {
      raisePriority(NICENESS);
    } catch {
      // not without CAP_SYS_NICE: answers may come later on a busy host
    }
  };
  const guarded = (what: string, step: () => void): void => {
    try {
      step();
    } catch (error) {
      if (loop.now() < reportAt) return;
      reportAt = loop.now() + REPORT_EVERY_MS;
      self.postMessage({ kind: "failed", what, error: messageOf(error) });
    }
  };
  const catchUp = (): void => {
    while (Atomics.load(posted, 0) !== taken) {
      const received = receiveMessageOnPort(port as unknown as NodePort) as { message: Change } | undefined;
      if (received === undefined) return;
      taken = (taken + 1) | 0;
      const { message: change } = received;
      if (change.kind === "end") isEnding = true;
      else guarded(change.kind, () => service.apply(change));
    }
  };
  using service = createService(loop, door, catchUp);
  using _wakeup = poller.watch(wakeup, "read", () => clearWakeup(wakeup));

  hurry();
  while (!isEnding) {
    catchUp();
    if (isEnding) break;
    guarded("questions", () => poller.turn(timers.wait(loop.now())));
    guarded("timers", () => timers.run(loop.now()));
  }
}

self.addEventListener("message", ({ data }) => {
  serve(data);
  self.postMessage({ kind: "ended" });
  process.exit();
});
