import { expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileOf, kernelState } from "../leaks.ts";
import { skipped } from "../skips.ts";

/** A run of the tests, in a temporary directory of its own. */
class Run {
  readonly parent = mkdtempSync(join(tmpdir(), "r"));
  readonly ready = join(this.parent, "ready");

  start(file: string): Bun.Subprocess {
    mkdirSync(this.parent, { recursive: true });
    const env = { ...process.env, TMPDIR: this.parent, BERTH_TEST_READY: this.ready };
    return Bun.spawn([process.execPath, "test/run.ts", file], { cwd: join(import.meta.dir, "../.."), env, stdio: ["ignore", "ignore", "ignore"] });
  }

  async endless(): Promise<Bun.Subprocess> {
    const runner = this.start("./test/fixtures/endless.ts");
    while (!existsSync(this.ready)) {
      if (runner.exitCode !== null) throw new Error(`the run ended with code ${runner.exitCode}`);
      await Bun.sleep(20);
    }
    return runner;
  }

  /** What there is of the run. */
  left(): string[] {
    const keys = JSON.parse(readFileSync(this.ready, "utf8")) as string[];
    const state = [...kernelState(this.parent)].filter((line) => /^(mount|process) /.test(line) || keys.some((key) => line.endsWith(`/berth-${key}`)));
    const told = readdirSync("/proc").filter(
      (pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid && fileOf(pid, "environ").includes(`TMPDIR=${this.parent}/`),
    );
    return [...state, ...told.map((pid) => `process ${pid}`), ...readdirSync(this.parent).filter((name) => name !== "ready")];
  }
}

test.skipIf(skipped("root", "overlay", "docker"))(
  "a run of the tests that is told to end leaves nothing; after one that was killed, the next takes all away",
  async () => {
    const run = new Run();
    const told = await run.endless();
    expect(run.left().length).toBeGreaterThan(4);
    told.kill("SIGTERM");
    expect(await told.exited).toBe(143);
    expect(run.left()).toEqual([]);

    rmSync(run.ready);
    const killed = await run.endless();
    killed.kill("SIGKILL");
    await killed.exited;
    expect(run.left().length).toBeGreaterThan(4);
    expect(await run.start("src/lib/sleep.test.ts").exited).toBe(0);
    expect(run.left()).toEqual([]);
    rmSync(run.parent, { recursive: true });
  },
);
