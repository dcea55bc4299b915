import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { tarOf } from "../../src/lib/tar-writer.ts";
import { examplesOf } from "../documented.ts";
import { skipped } from "../skips.ts";
import { berth as program, run, suiteEngine, until } from "./harness.ts";

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

  /** Files of all kinds in a volume, as a container sees them. */
  const fill = `mkdir /v/dir; echo content >/v/dir/file; chown 12:34 /v/dir/file; chmod 4750 /v/dir/file; ln /v/dir/file /v/same; ln -s /nowhere /v/link
    mkfifo /v/fifo; mknod /v/null c 1 3; dd if=/dev/zero of=/v/sparse bs=1 count=1 seek=50M 2>/dev/null; touch -d @1000000000 /v/dir; chmod 2711 /v; chown 5:6 /v`;
  const look = "cd /v; find . | sort | while read f; do stat -c '%n %A %u:%g %h %t:%T %s %Y' $f; done; cat dir/file; du -k sparse";
  const seen = async (name: string): Promise<string> => await ok("run", "--rm", "-v", `${name}:/v:ro`, "busybox", "sh", "-c", look);
  const names = async (): Promise<string[]> => (await ok("volume", "ls", "-q")).split("\n").filter(Boolean).sort();
  const rows = async (): Promise<string[]> => readdirSync(join(engine.data, "volumes")).sort();

  test("clone: the same files in a volume of its own", async () => {
    await ok("volume", "create", "--label", "a=b", "--label", "com.docker.compose.project=p", "full");
    await ok("run", "--rm", "-v", "full:/v", "busybox", "sh", "-c", fill);
    const before = await seen("full");
    expect(await berth("volume", "clone", "--label", "c=d", "full", "copy")).toBe("copy");
    expect(await seen("copy")).toBe(before);
    expect(Number(before.split("\n").at(-1)!.split("\t")[0])).toBeLessThan(100);
    expect(await ok("volume", "inspect", "-f", "{{json .Labels}} {{.Driver}}", "copy")).toBe('{"a":"b","c":"d"} local');
    await ok("run", "--rm", "-v", "copy:/v", "busybox", "sh", "-c", "echo changed >/v/dir/file");
    expect(await seen("full")).toBe(before);
    expect(await fails("volume", "clone", "full", "copy")).toContain("a volume named copy already exists");
    expect(await fails("volume", "clone", "none", "copy2")).toContain("get none: no such volume");
    expect(await fails("volume", "clone", "full", "../x")).toContain("includes invalid characters");
    expect(await fails("volume", "clone", "full", "")).toContain("clone full: the new volume has no name");
    // what an option mounts is read where it is
    await ok("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", `device=${volume("full")}`, "bound");
    await berth("volume", "clone", "bound", "unbound");
    expect(await seen("unbound")).toBe(before);
    await ok("volume", "rm", "copy", "bound", "unbound");
    expect(
      await ok(
        "events",
        "--since",
        "0",
        "--until",
        String(Date.now() / 1000),
        "--filter",
        "volume=unbound",
        "--filter",
        "event=create",
        "--format",
        "{{.Actor.Attributes.source}}",
      ),
    ).toBe("bound");
  });

  test("snapshots: read-only, listed, kept by prune, restored", async () => {
    const before = await seen("full");
    expect(await berth("volume", "snapshot", "full", "first")).toBe("first");
    const second = await berth("volume", "snapshot", "full");
    expect(second).toMatch(/^full\.\d{8}-\d{6}$/);
    const third = await berth("volume", "snapshot", "full");
    expect([third.startsWith("full."), third === second]).toEqual([true, false]);
    await ok("volume", "rm", third);
    expect((await berth("volume", "snapshots", "--format", "{{.Name}} {{.Volume}}")).split("\n").sort()).toEqual(["first full", `${second} full`]);
    expect(await berth("volume", "snapshots", "-q", "other")).toBe("");
    expect(await ok("volume", "ls", "-q", "--filter", "label=berth.snapshot.of=full", "--filter", "name=first")).toBe("first");
    expect(await engine.refused("run", "--rm", "-v", "first:/v", "busybox", "touch", "/v/x")).toContain("Read-only file system");
    expect(await ok("run", "--rm", "-v", "first:/v", "busybox", "cat", "/v/dir/file")).toBe("content");
    expect(await fails("volume", "snapshot", "first")).toContain("snapshot first: it is a snapshot itself");
    expect(await ok("volume", "prune", "-af")).not.toContain("first");

    await ok("run", "-d", "--name", "user", "-v", "full:/v", "busybox", "sleep", "1000");
    await ok("exec", "user", "sh", "-c", "rm -rf /v/dir; echo other >/v/same");
    expect(await fails("volume", "restore", "-f", "first")).toMatch(/restore full: volume is in use by running containers - \[\w{64}\]/);
    await ok("rm", "-f", "user");
    expect(await fails("volume", "restore", "-f", "full")).toContain("restore full: it is no snapshot of a volume");
    expect(await berth("volume", "restore", "-f", "first")).toBe("full");
    expect(await seen("full")).toBe(before);
    expect(await berth("volume", "restore", "-f", "--to", "elsewhere", "first")).toBe("elsewhere");
    expect(await seen("elsewhere")).toBe(before);
    await berth("volume", "rename", "full", "renamed");
    expect(await berth("volume", "snapshots", "-q", "renamed")).toContain("first");
    await ok("volume", "rm", "renamed");
    expect(await berth("volume", "restore", "-f", "first")).toBe("renamed");
    expect(await seen("renamed")).toBe(before);
    await berth("volume", "rename", "renamed", "full");
    expect(await ok("volume", "prune", "-af", "--filter", "label=berth.snapshot.of=full")).toContain("first");
    expect(await names()).toEqual(["elsewhere", "full"]);
    await ok("volume", "rm", "elsewhere");
  });

  test("export and import: also through tar, gzip and zstd, and as archives of others", async () => {
    const before = await seen("full");
    const file = join(engine.root, "full.tar");
    await berth("volume", "export", "-o", file, "full");
    expect(statSync(file).size).toBeLessThan(1 << 20);
    expect(await berth("volume", "import", "--label", "x=y", "back", file)).toBe("back");
    expect(await seen("back")).toBe(before);
    expect(await ok("volume", "inspect", "-f", "{{.Labels}}", "back")).toBe("map[x:y]");
    for (const [name, compress] of [
      ["gz", gzipSync],
      ["zst", Bun.zstdCompressSync],
    ] as const) {
      const { code, stdout } = await engine.berth(["volume", "import", name], { stdin: compress(readFileSync(file)) });
      expect([code, stdout]).toEqual([0, `${name}\n`]);
      expect(await seen(name)).toBe(before);
    }
    // GNU tar finds in it what was there, holes included
    const unpacked = join(engine.root, "unpacked");
    mkdirSync(unpacked);
    expect(await run(["tar", "-C", unpacked, "--xattrs", "-xpf", file])).toEqual({ code: 0, stdout: "", stderr: "" });
    expect([statSync(join(unpacked, "sparse")).size, statSync(join(unpacked, "sparse")).blocks < 100]).toEqual([(50 << 20) + 1, true]);
    expect(await run(["tar", "-C", unpacked, "-cSf", `${file}.gnu`, "."])).toMatchObject({ code: 0 });
    await berth("volume", "import", "gnu", `${file}.gnu`);
    expect(await seen("gnu")).toBe(before);
    // into one that is there
    expect(await fails("volume", "import", "gnu", file)).toContain("import gnu: the volume isn't empty; with force (--force) what is in it is replaced");
    await ok("run", "--rm", "-v", "gnu:/v", "busybox", "touch", "/v/more");
    await berth("volume", "import", "-f", "gnu", file);
    expect(await seen("gnu")).toBe(before);
    await ok("volume", "create", "empty");
    await berth("volume", "import", "empty", file);
    await ok("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "memory");
    expect(await fails("volume", "import", "memory", file)).toContain("import memory: its files are kept elsewhere (device=tmpfs, type=tmpfs)");
    await ok("volume", "rm", "back", "gz", "zst", "gnu", "empty", "memory");
  });

  test("a hostile or broken archive leaves nothing, inside or out", async () => {
    const outside = join(engine.root, "outside");
    const bad: [string, Buffer, string?][] = [
      ["up", tarOf([{ name: "../../../outside", type: "file", body: "x" }]), "outside of its root"],
      ["link", tarOf([{ name: "l", type: "symlink", linkName: engine.root }, { name: "l/outside", type: "file", body: "x" }])], // prettier-ignore
      ["hard", tarOf([{ name: "h", type: "hardlink", linkName: "../../../../engine.db" }]), "outside of its root"],
      ["cut", readFileSync(join(engine.root, "full.tar")).subarray(0, 3000), "import cut: "],
      ["nothing", Buffer.alloc(0), "import nothing: the archive has no end mark: it is empty, or cut off"],
      ["unended", tarOf([{ name: "f", type: "file", body: "1" }]).subarray(0, 1024), "import unended: the archive has no end mark"],
      ["noise", Buffer.from(crypto.getRandomValues(new Uint8Array(5000))), "import noise: "],
    ];
    for (const [name, archive, error] of bad) {
      const { code, stderr } = await engine.berth(["volume", "import", name], { stdin: archive });
      expect([name, code, existsSync(outside)]).toEqual([name, error === undefined ? 0 : 1, false]);
      if (error !== undefined) expect(stderr).toContain(error);
      // the same into one that is there: it keeps what it has
      if (error !== undefined) expect((await engine.berth(["volume", "import", "-f", "full"], { stdin: archive })).code).toBe(1);
    }
    expect(await names()).toEqual(["full", "link"]);
    expect(await rows()).toEqual(["full", "link"]);
    expect(readdirSync(join(engine.data, "volumes/full"))).toEqual(["_data"]);
    expect(await seen("full")).toContain("content");
    await ok("volume", "rm", "link");
  });

  test("who writes meanwhile is named, or held still", async () => {
    await ok("run", "-d", "--name", "writer", "-v", "full:/v", "busybox", "sh", "-c", "while :; do echo x >>/v/log; usleep 1000; done");
    await ok("run", "-d", "--name", "reader", "-v", "full:/v:ro", "busybox", "sleep", "1000");
    const plain = await engine.berth(["volume", "snapshot", "full", "live"]);
    expect([plain.code, plain.stderr]).toEqual([0, expect.stringContaining("WARNING: writer could write to full meanwhile")]);
    expect(await engine.berth(["volume", "snapshot", "--pause", "full", "still"])).toEqual({ code: 0, stdout: "still\n", stderr: "" });
    expect(await engine.actionsOf("writer")).toEqual(["create", "start", "pause", "unpause"]);
    expect(await engine.actionsOf("reader")).toEqual(["create", "start"]);
    expect(await engine.stateOf("writer")).toStartWith("running");
    expect(await engine.refused("volume", "rm", "full")).toContain("in use");
    await ok("rm", "-f", "writer", "reader");
    await ok("volume", "rm", "live", "still");
  });

  test("an engine that dies while it holds a container still lets it go on when it comes back", async () => {
    await ok("run", "-d", "--name", "writer", "-v", "busy:/v", "busybox", "sh", "-c", "while :; do echo x >>/v/log; usleep 1000; done");
    for (let i = 0; i < 10_000; i++) writeFileSync(volume("busy", `small${i}`), "x");
    const client = Bun.spawn([program, "volume", "snapshot", "--pause", "busy", "half"], {
      stdio: ["ignore", "ignore", "ignore"],
      env: { ...process.env, DOCKER_HOST: `unix://${engine.socket}` },
    });
    await until("it has begun", async () => existsSync(volume("half")) && (await engine.stateOf("writer")).startsWith("paused"));
    await engine.kill9();
    await client.exited;
    await engine.start();
    expect(await engine.stateOf("writer")).toStartWith("running");
    expect(await names()).toEqual(["busy", "full"]);
    await ok("rm", "-f", "writer");
    await ok("volume", "rm", "busy");
  });

  test("what the documentation shows", async () => {
    await ok("run", "--rm", "-v", "data:/v", "busybox", "touch", "/v/f");
    for (const line of examplesOf("volume-copies.md")) {
      const words = line.split("#")[0]!.trim().split(/ +/);
      const out = await berth(...words.slice(1).map((word) => (word === "data.tar" ? join(engine.root, word) : word)));
      if (words[2] === "snapshots") expect(out).toMatch(/^SNAPSHOT +VOLUME +CREATED\nbefore +data +\d{4}-/);
    }
    expect(await names()).toEqual(["archive", "before", "data", "full", "testdata"]);
    expect(await ok("run", "--rm", "-v", "archive:/v", "busybox", "ls", "/v")).toBe("f");
    await ok("volume", "rm", "archive", "before", "data", "testdata");
  });

  test("an interrupted copy or import, and an engine that dies in the middle, leave nothing", async () => {
    for (let i = 0; i < 10_000; i++) writeFileSync(volume("full", `small${i}`), "x");
    const attempts: string[][] = [["clone", "full", "half"], ["snapshot", "full", "half"], ["import", "half", "-"], ["import", "-f", "full", "-"]]; // prettier-ignore
    const begun = tarOf([{ name: "a", type: "file", body: "1" }, { name: "b", type: "file", body: Buffer.alloc(4 << 20, "b") }]).subarray(0, 3 << 20); // prettier-ignore
    for (const how of ["client", "engine"]) {
      for (const attempt of attempts) {
        const client = Bun.spawn([program, "volume", ...attempt], {
          stdin: "pipe",
          stdout: "ignore",
          stderr: "ignore",
          env: { ...process.env, DOCKER_HOST: `unix://${engine.socket}` },
        });
        if (attempt[0] === "import") {
          client.stdin.write(begun);
          void client.stdin.flush();
        }
        const half = attempt.includes("half") ? join(engine.data, "volumes/half/_data") : join(engine.data, "volumes/full/_copy");
        await until("the copy has begun", () => existsSync(half) && readdirSync(half).length > 0);
        expect(await names()).toEqual(["full"]);
        if (how === "client") {
          if (attempt.includes("half")) expect(await engine.refused("volume", "create", "half")).toContain("is being made by a copy or an import");
          client.kill("SIGINT");
          await client.exited;
          await until("it is taken back", async () => !existsSync(half) && (await rows()).length === 1);
        } else {
          await engine.kill9();
          client.kill("SIGKILL");
          await client.exited;
          await engine.start();
        }
        expect(await names()).toEqual(["full"]);
        expect(await rows()).toEqual(["full"]);
        expect(readdirSync(join(engine.data, "volumes/full"))).toEqual(["_data"]);
        expect(await ok("run", "--rm", "-v", "full:/v", "busybox", "cat", "/v/dir/file")).toBe("content");
      }
    }
    await ok("volume", "rm", "full");
  }, 60_000);
});
