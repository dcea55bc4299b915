import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { skipped } from "../skips.ts";
import { run } from "./harness.ts";

const root = resolve(import.meta.dir, "../..");

describe.skipIf(skipped("root", "overlay"))("npm start", () => {
  // What is left behind (mounts, links, rules, processes) is looked at by the runner, after this file.
  test("builds, pushes, pulls and runs, and ends with the greeting", async () => {
    const shown = await run(["unshare", "-n", "sh", "-c", "busybox ip link set lo up && exec sh scripts/start"], { cwd: root, limit: 110_000 });
    expect({ code: shown.code, stderr: shown.code === 0 ? "" : shown.stderr }).toEqual({ code: 0, stderr: "" });
    for (const step of ["$ berthd ", "$ berth registry serve", "$ berth build", "$ berth push", "$ berth rmi", "$ berth run"])
      expect(shown.stdout).toContain(step);
    const [main, next] = shown.stdout.split("That was Berth");
    // What `run` says of its pull goes to standard error, as with docker.
    expect(shown.stderr).toContain("Downloaded newer image");
    expect(main?.trimEnd().split("\n").slice(-2)[0]).toBe("Hello from a container on Berth!");
    expect(next).toContain("What next");
  });
});

describe.skipIf(skipped("root"))("a system without apt", () => {
  test("is told which packages are missing, and nothing more happens", async () => {
    const folder = mkdtempSync(join(tmpdir(), "berth-path-"));
    try {
      for (const tool of ["sh", "dirname", "id", "npm", "uname", "grep"]) symlinkSync(Bun.which(tool) ?? "/bin/false", join(folder, tool));
      const { code, stdout, stderr } = await run([join(folder, "sh"), "scripts/setup"], { cwd: root, env: { PATH: folder } });
      expect(code).toBe(1);
      expect(stdout).toBe("");
      for (const missing of ["no apt-get here", "crun", "conmon", "libnftables", "busybox"]) expect(stderr).toContain(missing);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("without root", () => {
  test.skipIf(skipped("root"))("the first command says why root is needed", async () => {
    // `nobody` may not be able to read the checkout, so the script is handed over as text.
    const text = await Bun.file(resolve(root, "scripts/setup")).text();
    const body = text.replace(/^\. .*$/m, "die() { printf 'berth: %s\\n' \"$*\" >&2; exit 1; }; say() { :; }");
    const { code, stderr } = await run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", body, "setup"], { cwd: "/" });
    expect(code).toBe(1);
    expect(stderr).toContain("root is needed: containers are made of mounts, namespaces");
  });
});
