import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { skipped } from "../skips.ts";
import { lastingInconsistencies } from "./consistency.ts";
import { Engine } from "./harness.ts";
import { randomOf } from "./lanes.ts";

/**
 * The engine is killed at a random moment of one thing that somebody does with images. After the next start nothing is left of it that nobody names, what
 * was answered is there, and the image that others stand on is whole. `BERTH_KILL_ROUNDS` and `BERTH_KILL_SEED` as for kill9.test.ts.
 */
const rounds = Number(process.env["BERTH_KILL_ROUNDS"] ?? 24);
const seed = Number(process.env["BERTH_KILL_SEED"] ?? Math.floor(Math.random() * 1e6));

/** One thing that is done with images. */
interface Deed {
  name: string;
  /** What must be there before. */
  prepare?: () => Promise<unknown>;
  /** True where the engine answered that it is done. */
  run: () => Promise<boolean>;
  /** Of an image of this name: there if it was answered, not there, or either. */
  leaves?: { image: string; present: boolean };
  /** Done again after the next start, before what is there is looked at. */
  mended?: () => Promise<void>;
}

describe.skipIf(skipped("root", "overlay", "docker"))(`an engine killed in the middle of work on images (seed ${seed})`, () => {
  test(
    "leaves nothing that nobody names",
    async () => {
      await using engine = await Engine.start();
      await engine.importBusybox();
      await using _registry = await engine.registry();
      const random = randomOf(seed);
      const context = await makeImage(engine);
      const archive = join(engine.root, "many.tar");
      const tree = join(engine.root, "busybox.tar");
      const base = join(engine.root, "base.tar");
      await engine.ok("save", "-o", base, "busybox");
      await engine.ok("save", "-o", archive, "127.0.0.1:5000/many");
      await engine.ok("push", "-q", "127.0.0.1:5000/many");
      await engine.ok("run", "--name", "changed", "busybox", "dd", "if=/dev/urandom", "of=/changed", "bs=64k", "count=64");

      const done = async (...args: string[]): Promise<boolean> => (await engine.docker(args)).code === 0;
      const many = "127.0.0.1:5000/many";
      const withoutMany = (): Promise<unknown> => engine.docker(["rmi", "-f", many]);
      const withMany = (): Promise<unknown> => engine.ok("load", "-q", "-i", archive);
      const deeds: Deed[] = [
        { name: "load", prepare: withoutMany, run: () => done("load", "-q", "-i", archive), leaves: { image: many, present: true } },
        { name: "pull", prepare: withoutMany, run: () => done("pull", "-q", many), leaves: { image: many, present: true } },
        { name: "import", run: () => done("import", tree, "imported"), leaves: { image: "imported", present: true } },
        { name: "commit", run: () => done("commit", "changed", "committed"), leaves: { image: "committed", present: true } },
        { name: "build", run: () => done("build", "-q", "-t", "built", context("other")), leaves: { image: "built", present: true } },
        { name: "save", prepare: withMany, run: () => done("save", "-o", join(engine.root, "saved.tar"), many), leaves: { image: many, present: true } },
        { name: "push", prepare: withMany, run: () => done("push", "-q", many), leaves: { image: many, present: true } },
        { name: "rmi", prepare: withMany, run: () => done("rmi", "-f", many), leaves: { image: many, present: false } },
        {
          name: "repair",
          prepare: async () => {
            await withoutMany();
            await engine.ok("pull", "-q", many);
            const folder = join(engine.data, "snapshots");
            const [layer] = readdirSync(folder).filter((id) => existsSync(join(folder, id, "layer0")));
            rmSync(join(folder, layer!), { recursive: true });
          },
          run: async () => (await engine.berth(["system", "check", "--repair"])).code === 0,
          leaves: { image: many, present: true },
          mended: async () => void (await engine.berth(["system", "check", "--repair"])),
        },
        { name: "prune", prepare: withMany, run: () => done("system", "prune", "-af"), leaves: { image: many, present: false } },
      ];
      for (let round = 0; round < rounds; round++) {
        const deed = deeds[Math.floor(random() * deeds.length)]!;
        await deed.prepare?.();
        const answer = deed.run();
        await Bun.sleep(random() * random() * 900);
        await engine.kill9();
        const answered = await answer;
        await engine.start();
        await deed.mended?.();
        const wrong = await lastingInconsistencies(engine);
        const { image, present } = deed.leaves ?? {};
        if (answered && image !== undefined) {
          const there = await done("image", "inspect", image);
          if (there !== present) wrong.push(`image ${image} ${present === true ? "is lost" : "came back"}`);
        }
        if (deed.name === "prune") await engine.ok("load", "-q", "-i", base);
        if (!(await done("run", "--rm", "busybox", "true"))) wrong.push("busybox doesn't run any more");
        if (wrong.length > 0)
          throw new Error(`seed ${seed}, round ${round} (${deed.name}):\n  ${wrong.join("\n  ")}\n${engine.log().split("\n").slice(-40).join("\n")}`);
      }
      await engine.removeAll();
      await engine.ok("system", "prune", "-af");
      expect(await lastingInconsistencies(engine)).toEqual([]);
    },
    60_000 + rounds * 15_000,
  );
});

/** An image of some layers, and a context that builds another one anew each time. */
async function makeImage(engine: Engine): Promise<(name: string) => string> {
  const context = (name: string): string => {
    const directory = join(engine.root, "busybox-tree");
    rmSync(join(directory, "Dockerfile"), { force: true });
    const steps = Array.from({ length: 4 }, (_, i) => `RUN dd if=/dev/urandom of=/${name}${i} bs=64k count=32`);
    writeFileSync(join(directory, "Dockerfile"), `FROM busybox\nENV at=${Date.now()}\n${steps.join("\n")}\n`);
    return directory;
  };
  await engine.ok("build", "-q", "-t", "127.0.0.1:5000/many", context("layer"));
  return context;
}
