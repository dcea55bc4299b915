import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { skipped } from "../skips.ts";
import { suiteEngine } from "./harness.ts";

/** What volumes can that Docker's can't: new names, copies, snapshots, archives. */
describe.skipIf(skipped("root", "overlay", "docker"))("volumes", () => {
  const engine = suiteEngine();
  const ok = (...args: string[]): Promise<string> => engine.ok(...args);
  const berth = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await engine.berth(args);
    if (code !== 0) throw new Error(`berth ${args.join(" ")}: exit code ${code}\n${stdout}${stderr}`);
    return stdout.replace(/\n$/, "");
  };
  const fails = async (...args: string[]): Promise<string> => {
    const { code, stderr } = await engine.berth(args);
    expect(code).toBe(1);
    return stderr;
  };
  const volume = (name: string, path = ""): string => join(engine.data, "volumes", name, "_data", path);

  test("rename: containers follow, running ones go on", async () => {
    await ok("run", "-d", "--name", "running", "-v", "old:/v", "--mount", "type=volume,src=old,dst=/w", "-v", "/anonymous", "busybox", "sleep", "1000");
    await ok("create", "--name", "resting", "--volumes-from", "running:ro", "busybox", "cat", "/v/f");
    await ok("exec", "running", "sh", "-c", "echo 1 >/v/f; echo 2 >/anonymous/f");
    expect(await berth("volume", "rename", "old", "new")).toBe("new");
    expect(existsSync(volume("old"))).toBe(false);
    await ok("exec", "running", "sh", "-c", "echo more >>/v/f; test $(wc -l </w/f) = 2");
    const shown = await ok("inspect", "-f", "{{json .HostConfig.Binds}} {{(index .HostConfig.Mounts 0).Source}} {{json .Mounts}}", "running");
    expect(shown).toStartWith('["new:/v"] new');
    expect(shown).not.toContain("old");
    expect(shown).toContain(volume("new"));
    expect(await ok("ps", "-aq", "--filter", "volume=new")).toMatch(/^\w{12}\n\w{12}$/);
    expect(await ok("start", "-a", "resting")).toBe("1\nmore");
    expect(await engine.refused("volume", "rm", "new")).toContain("volume is in use");
    const since = "0";
    expect(
      await ok(
        "events",
        "--since",
        since,
        "--until",
        String(Date.now() / 1000),
        "--filter",
        "event=rename",
        "--format",
        "{{.Actor.ID}} {{.Actor.Attributes.oldName}}",
      ),
    ).toBe("new old");
    // over a restart of the engine, and of the container
    await engine.kill9();
    await engine.start();
    await ok("restart", "-t", "0", "running");
    expect(await ok("exec", "running", "cat", "/v/f")).toBe("1\nmore");
    // an anonymous one stays when its container goes
    const anonymous = await ok("inspect", "-f", '{{range .Mounts}}{{if eq .Destination "/anonymous"}}{{.Name}}{{end}}{{end}}', "running");
    await berth("volume", "rename", anonymous, "named");
    await ok("rm", "-fv", "running", "resting");
    expect(await ok("run", "--rm", "-v", "named:/v", "busybox", "cat", "/v/f")).toBe("2");
    expect(await ok("volume", "inspect", "-f", "{{.Labels}}", "named")).toBe("map[]");
    expect(await fails("volume", "rename", "named", "new")).toContain("rename named: a volume named new already exists");
    expect(await fails("volume", "rename", "nowhere", "x1")).toContain("get nowhere: no such volume");
    expect(await fails("volume", "rename", "named", "../x")).toContain("includes invalid characters");
    await ok("volume", "rm", "new", "named");
  });

  test("rename of one with something mounted on it, in use and not", async () => {
    await ok("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "memory");
    await ok("run", "-d", "--name", "holder", "-v", "memory:/v", "busybox", "sleep", "1000");
    await ok("exec", "holder", "touch", "/v/f");
    await berth("volume", "rename", "memory", "ram");
    expect(await ok("run", "--rm", "-v", "ram:/v", "busybox", "ls", "/v")).toBe("f");
    await ok("rm", "-f", "holder");
    expect(await ok("run", "--rm", "-v", "ram:/v", "busybox", "ls", "/v")).toBe("");
    await ok("volume", "rm", "ram");
  });
});
