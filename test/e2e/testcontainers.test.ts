import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { skipped } from "../skips.ts";
import { lastingInconsistencies } from "./consistency.ts";
import { Engine, run } from "./harness.ts";

describe.skipIf(skipped("root", "overlay", "docker"))("Testcontainers", () => {
  test("starts, waits for, talks to and removes containers", async () => {
    await using engine = await Engine.start();
    await engine.importBusybox();
    const { code, stdout, stderr } = await run([...engine.onHost, process.execPath, join(import.meta.dir, "testcontainers-scenario.ts")], {
      env: {
        DOCKER_HOST: `unix://${engine.socket}`,
        // its lock files stay
        TMPDIR: engine.root,
        // its image is in a registry that a test can't reach
        TESTCONTAINERS_RYUK_DISABLED: "true",
        TESTCONTAINERS_REUSE_ENABLE: "true",
        TESTCONTAINERS_HOST_OVERRIDE: "127.0.0.1",
      },
      limit: 100_000,
    });
    expect({ code, stdout, stderr }).toMatchObject({ code: 0, stderr: "" });
    expect(stdout.trim().split("\n")).toHaveLength(13);
    // it has removed what it had made, but for what never ran: that is its reaper's
    expect(await engine.ok("ps", "-a", "--format", "{{.State}} {{.Command}}", "--no-trunc")).toBe('created "/nowhere"');
    expect(await lastingInconsistencies(engine)).toEqual([]);
  }, 120_000);
});
