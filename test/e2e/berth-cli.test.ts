import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { skipped } from "../skips.ts";
import { suiteEngine } from "./harness.ts";

/** Berth's own command line, as a person types it. */
describe.skipIf(skipped("root", "overlay", "docker"))("berth", () => {
  const engine = suiteEngine();
  const ok = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await engine.berth(args);
    if (code !== 0) throw new Error(`berth ${args.join(" ")}: exit code ${code}\n${stdout}${stderr}`);
    return stdout.replace(/\n$/, "");
  };

  test("says what to do when no engine answers", async () => {
    const { code, stderr } = await engine.berth(["ps"], { env: { DOCKER_HOST: "unix:///nowhere/berth.sock" } });
    expect(code).toBe(1);
    expect(stderr).toContain("Cannot connect");
    expect(stderr).toContain("berthd");
  });

  test("run: streams, exit codes, stdin, terminal", async () => {
    expect(await engine.berth(["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7"])).toEqual({ code: 7, stdout: "out\n", stderr: "err\n" });
    expect((await engine.berth(["run", "--rm", "-i", "busybox", "wc", "-c"], { stdin: "x".repeat(200_000) })).stdout).toBe("200000\n");
    expect((await engine.berth(["run", "--rm", "busybox", "nope"])).code).toBe(127);
    expect((await engine.berth(["run", "--rm", "busybox", "/etc/passwd"])).code).toBe(126);
    const usage = await engine.berth(["run", "--nonsense", "busybox"]);
    expect(usage.code).toBe(125);
    expect(usage.stderr).toContain("unknown flag: --nonsense");
    const terminal = await engine.inTerminal(`${join(import.meta.dir, "../../bin/berth")} run --rm -it busybox sh -c 'tty; read x; echo got:$x; exit 3'`, {
      stdin: "hello\n",
    });
    expect(terminal.stdout).toContain("got:hello");
    expect(terminal.code).toBe(3);
  });

  test("a container's life, and what is shown of it", async () => {
    const id = await ok("run", "-d", "--name", "life", "-e", "A=1", "busybox", "sh", "-c", "echo up; sleep 1000");
    expect(await ok("ps")).toMatch(
      /^CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +PORTS +NAMES\n[0-9a-f]{12} +busybox +"sh -c 'echo up; sle…" .*Up .* +life$/,
    );
    expect(await ok("ps", "-q", "--no-trunc")).toBe(id);
    expect(await ok("exec", "life", "sh", "-c", "echo $A")).toBe("1");
    expect(await ok("logs", "life")).toBe("up");
    expect(await ok("inspect", "--format", "{{.State.Status}} {{json .Config.Cmd}}", "life")).toBe('running ["sh","-c","echo up; sleep 1000"]');
    expect(await ok("top", "life")).toContain("sleep 1000");
    await ok("rename", "life", "other");
    await ok("stop", "-t", "0", "other");
    expect(await ok("ps", "-a", "--format", "{{.Names}}: {{.Status}}")).toMatch(/^other: Exited \(137\) /);
    await ok("start", "other");
    await ok("kill", "other");
    expect(await ok("wait", "other")).toBe("137");
    expect(await ok("rm", "other")).toBe("other");
    expect((await engine.berth(["rm", "other"])).stderr).toContain("No such container: other");
    const forced = await engine.berth(["rm", "-f", "other"]);
    expect([forced.code, forced.stdout]).toEqual([0, ""]);
    expect(forced.stderr).toContain("No such container: other");
  });

  test("events can be read back", async () => {
    const since = String(Date.now() / 1000);
    await ok("run", "--rm", "busybox", "true");
    const lines = (await ok("events", "--since", since, "--until", String(Date.now() / 1000 + 0.001), "--format", "{{.Action}}")).split("\n");
    for (const action of ["create", "start", "die", "destroy"]) expect(lines).toContain(action);
  });

  test("build, push, remove, run with pull", async () => {
    await using _registry = await engine.registry();
    const context = join(engine.root, "berth-context");
    mkdirSync(context);
    writeFileSync(join(context, "Dockerfile"), "FROM busybox\nCOPY word /word\nCMD cat /word\n");
    writeFileSync(join(context, "word"), "shipped\n");
    const image = "127.0.0.1:5000/shipped";
    expect(await ok("build", "-t", image, context)).toContain(`Successfully tagged ${image}:latest`);
    expect(await ok("push", image)).toContain("latest: digest: sha256:");
    await ok("rmi", image);
    const ran = await engine.berth(["run", "--rm", image]);
    expect(ran.stdout).toBe("shipped\n");
    expect(ran.stderr).toContain(`Unable to find image '${image}:latest' locally`);
    expect(await ok("images", image)).toMatch(/^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE\n127\.0\.0\.1:5000\/shipped +latest /);
    await ok("save", "-o", join(engine.root, "s.tar"), image);
    await ok("rmi", image);
    expect(await ok("load", "-i", join(engine.root, "s.tar"))).toContain(`Loaded image: ${image}:latest`);
    await ok("tag", image, "short:1");
    expect(await ok("history", "-q", "short:1")).toContain("missing");
    await ok("rmi", "short:1", image);
  });

  test("volumes and networks", async () => {
    expect(await ok("volume", "create", "v1")).toBe("v1");
    await ok("run", "--rm", "-v", "v1:/v", "busybox", "touch", "/v/x");
    expect(await ok("run", "--rm", "-v", "v1:/v", "busybox", "ls", "/v")).toBe("x");
    await ok("volume", "rm", "v1");
    expect((await ok("network", "ls", "--format", "{{.Name}}")).split("\n").sort()).toEqual(["bridge", "host", "none"]);
  });

  test("help, completion and version", async () => {
    expect(await ok("--help")).toContain("Usage:  berth [OPTIONS] COMMAND");
    expect(await ok("run", "--help")).toContain("--publish");
    expect(await ok("completion", "bash")).toContain("complete");
    expect(await ok("version", "--format", "{{.Client.Version}}")).toMatch(/^\d+\.\d+\.\d+$/);
    const unknown = await engine.berth(["frobnicate"]);
    expect(unknown.code).not.toBe(0);
    expect(unknown.stderr).toContain("frobnicate");
  });
});
