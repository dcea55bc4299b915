import { expect, test } from "bun:test";
import { endedChildren } from "./reaper.ts";

test("a child of a Worker is the Worker's to reap, however long it takes", async () => {
  const source = 'postMessage(Bun.spawn(["true"]).pid); Bun.sleepSync(1500); setTimeout(() => {}, 10_000);';
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "application/javascript" })));
  const pid = await new Promise<number>((resolve) => worker.addEventListener("message", ({ data }: MessageEvent<number>) => resolve(data)));
  // it has ended by then, and its Worker still sleeps
  await Bun.sleep(500);
  expect(endedChildren()).not.toContain(pid);
  worker.terminate();
});
