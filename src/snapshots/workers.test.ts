import { expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSnapshotWorkers } from "./workers.ts";

test("removals give way while somebody waits for other work, and are done after it", async () => {
  const directory = mkdtempSync(join(tmpdir(), "berth-workers-"));
  using workers = createSnapshotWorkers();
  try {
    mkdirSync(join(directory, "tree"));
    for (let n = 0; n < 50; n++) writeFileSync(join(directory, "tree", `f${n}`), "");
    // work that goes on until its input ends
    const input = new TransformStream<Uint8Array, Uint8Array>();
    const copy = workers.run({ op: "copyIn", root: directory, path: "/", keepKinds: false }, { input: input.readable });
    while (Atomics.load(workers.busy, 0) === 0) await Bun.sleep(1);
    const removal = workers.run({ op: "remove", directory, name: "tree" });
    await Bun.sleep(150);
    expect(existsSync(join(directory, "tree"))).toBe(true);
    await input.writable.close();
    await copy;
    await removal;
    expect(existsSync(join(directory, "tree"))).toBe(false);
    expect(Atomics.load(workers.busy, 0)).toBe(0);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
