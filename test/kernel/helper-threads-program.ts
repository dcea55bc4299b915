import { readdirSync, readFileSync } from "node:fs";
import { createHelperThreads } from "../../src/daemon/helper-threads.ts";
import { silent } from "../../src/lib/log.ts";

/** Works until JavaScriptCore has its threads, then prints their niceness by name, as JSON. */
function niceByName(): Record<string, string[]> {
  const all: Record<string, string[]> = {};
  for (const id of readdirSync("/proc/self/task")) {
    const [, name = "", rest = ""] = /^\d+ \((.*)\) (.*)$/s.exec(readFileSync(`/proc/self/task/${id}/stat`, "utf8")) ?? [];
    (all[name] ??= []).push(rest.split(" ")[16] ?? "");
  }
  return all;
}

const raise = createHelperThreads(silent);
new Worker(URL.createObjectURL(new Blob(["setInterval(() => {}, 1000)"]))).unref();
let sum = 0;
const kept: number[][] = [];
const work = (): void => {
  for (let i = 0; i < 1_000_000; i++) sum = (sum * 31 + i) % 1000003;
  for (let i = 0; i < 20_000; i++) kept.push([i]);
};
do {
  work();
  Bun.gc(true);
  await Bun.sleep(5);
} while (niceByName()["JITWorker"] === undefined || niceByName()["HeapHelper"] === undefined);
raise();
const { JITWorker, HeapHelper, Worker: worker } = niceByName();
console.log(JSON.stringify({ JITWorker: [...new Set(JITWorker)], HeapHelper: [...new Set(HeapHelper)], worker }));
process.exit();
