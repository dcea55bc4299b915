import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { skipped } from "../skips.ts";
import { suiteEngine, until } from "./harness.ts";

/** Volumes as Docker has them. Texts and shapes were compared with dockerd 26.1. */
describe.skipIf(skipped("root", "overlay", "docker"))("volumes of the local driver", () => {
  const engine = suiteEngine();
  const ok = (...args: string[]): Promise<string> => engine.ok(...args);
  const data = (name: string, path = ""): string => join(engine.data, "volumes", name, "_data", path);
  const isMounted = (name: string): boolean => readFileSync("/proc/self/mountinfo", "utf8").includes(` ${data(name)} `);
  const create = async (body: unknown, version = "v1.45"): Promise<[number, unknown]> => {
    const answer = await engine.api("POST", `/${version}/volumes/create`, body);
    return [answer.status, await answer.json()];
  };
  const refusal = async (method: string, path: string, body?: unknown): Promise<[number, string]> => {
    const answer = await engine.api(method, path, body);
    return [answer.status, ((await answer.json()) as { message: string }).message];
  };
  const names = async (filters: unknown): Promise<string[]> => {
    const answer = await engine.api("GET", `/v1.45/volumes?filters=${encodeURIComponent(JSON.stringify(filters))}`);
    return ((await answer.json()) as { Volumes: { Name: string }[] }).Volumes.map(({ Name }) => Name);
  };
  /** An image with something at /data, from a container that made it. */
  const imageWithData = async (): Promise<void> => {
    const make =
      "mkdir -p /data/sub; echo 1 >/data/f; ln /data/f /data/h; ln -s f /data/l; mkfifo /data/p; chown 7:8 /data /data/f; chmod 2775 /data; chmod 4711 /data/sub; touch /file";
    await ok("run", "--name", "maker", "busybox", "sh", "-c", make);
    await ok("commit", "maker", "filled");
    await ok("rm", "maker");
  };

  test("the endpoints", async () => {
    const shown = { Driver: "local", Mountpoint: data("one"), Name: "one", Scope: "local", CreatedAt: expect.stringMatching(/^\d{4}-.*T\d\d:\d\d:\d\dZ$/) };
    expect(await create({ Name: "one", Labels: { a: "b" } })).toEqual([201, { ...shown, Labels: { a: "b" }, Options: null }]);
    expect(await create({ Name: "one", Labels: { c: "d" }, DriverOpts: { type: "tmpfs", device: "x" } })).toEqual([
      201,
      { ...shown, Labels: { a: "b" }, Options: null },
    ]);
    expect(await create({ Name: "two", Labels: {}, DriverOpts: {} })).toMatchObject([201, { Labels: {}, Options: {} }]);
    const [, { Name: anonymous, Labels: mark }] = (await create({})) as [number, { Name: string; Labels: object }];
    expect(anonymous).toMatch(/^[0-9a-f]{64}$/);
    expect(mark).toEqual({ "com.docker.volume.anonymous": "" });
    expect(await create({ Name: "a" })).toMatchObject([
      400,
      { message: "create a: volume name is too short, names should be at least two alphanumeric characters" },
    ]);
    const characters = 'includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed.';
    for (const name of ["..", "../x", "/etc", "a/b", "-x", "x y"]) {
      const message = `create ${name}: "${name}" ${characters} If you intended to pass a host directory, use absolute path`;
      expect(await create({ Name: name })).toEqual([400, { message }]);
    }
    expect(await create({ Name: "x", Driver: "nope" })).toEqual([404, { message: 'create x: error looking up volume plugin nope: plugin "nope" not found' }]);
    const noSwarm = expect.stringContaining("This node is not a swarm manager.");
    expect(await create({ Name: "cluster", ClusterVolumeSpec: {} })).toEqual([503, { message: noSwarm }]);
    expect(await refusal("PUT", "/v1.45/volumes/one?version=1", {})).toEqual([503, "volume update only valid for cluster volumes, but swarm is unavailable"]);

    expect(await names({ label: ["com.docker.volume.anonymous"] })).toEqual([anonymous]);
    expect(await names({ name: ["^o"], driver: ["local"], label: ["a=b"], dangling: ["true"] })).toEqual(["one"]);
    expect(await names({ dangling: ["0"] })).toEqual([]);
    for (const filter of ["yes", "true,false"]) {
      const text = JSON.stringify({ dangling: filter.split(",") });
      expect(await refusal("GET", `/v1.45/volumes?filters=${encodeURIComponent(text)}`)).toEqual([
        400,
        `invalid filter 'dangling=[${filter.replace(",", " ")}]'`,
      ]);
    }
    const prune = (filters: unknown): string => `/v1.45/volumes/prune?filters=${encodeURIComponent(JSON.stringify(filters))}`;
    expect(await refusal("POST", prune({ all: ["yes"] }))).toEqual([400, `invalid filter 'all': strconv.ParseBool: parsing "yes": invalid syntax`]);
    expect(await refusal("POST", prune({ all: ["true", "false"] }))).toEqual([400, "invalid filter 'all=[true false]': only one value is expected"]);
    expect(await refusal("POST", prune({ until: ["1h"] }))).toEqual([400, "invalid filter 'until'"]);
    expect(await ok("volume", "prune", "-f")).toContain(anonymous);
    expect(await ok("volume", "prune", "-f", "-a", "--filter", "label!=a")).toContain("two");
    expect(await names({})).toEqual(["one"]);
    expect((await engine.berth(["volume", "prune", "-f", "-a"])).stdout).toContain("one");
    expect(await refusal("DELETE", "/v1.45/volumes/one")).toEqual([404, "get one: no such volume"]);
    expect((await engine.api("DELETE", "/v1.45/volumes/one?force=1")).status).toBe(204);
  });

  test("who takes an anonymous volume along", async () => {
    await ok("run", "--rm", "-v", "/x", "--mount", "type=volume,dst=/y", "busybox", "true");
    expect(await names({})).toEqual([]);
    // one that is named, even by its 64 digits, stays: with --rm, rm -v, and after a create that fails
    const kept = await ok("volume", "create");
    await ok("run", "--rm", "-v", `${kept}:/x`, "busybox", "touch", "/x/kept");
    await ok("create", "--name", "holder", "-v", `${kept}:/x`, "-v", "/own", "busybox");
    expect(await engine.refused("volume", "rm", kept)).toMatch(new RegExp(`remove ${kept}: volume is in use - \\[[0-9a-f]{64}\\]`));
    await ok("rm", "-v", "holder");
    expect(
      await engine.refused("create", "-v", `${kept}:/x`, "-v", `${kept}:/bin/busybox`, "--mount", "type=volume,src=of,dst=/w,volume-opt=wat=1", "busybox"),
    ).toContain('create of: invalid option: "wat"');
    expect(await names({})).toEqual([kept]);
    expect(existsSync(data(kept, "kept"))).toBe(true);
    // those had from others go with the last
    await ok("create", "--name", "first", "-v", "/x", "-v", `${kept}:/y`, "busybox");
    await ok("create", "--name", "second", "--volumes-from", "first:ro", "busybox", "touch", "/x/f");
    await ok("rm", "-v", "first");
    expect((await names({})).length).toBe(2);
    expect((await engine.docker(["start", "-a", "second"])).stderr).toContain("Read-only file system");
    await ok("rm", "-v", "second");
    expect(await names({})).toEqual([kept]);
    await ok("volume", "rm", kept);
  });

  test("the image's files fill what is empty, once", async () => {
    await imageWithData();
    const list = "stat -c '%n %A %u %g %h' /data /data/*";
    const wanted = await ok("run", "--rm", "filled", "sh", "-c", list);
    expect(await ok("run", "--rm", "-v", "fill:/data", "filled", "sh", "-c", list)).toBe(wanted);
    expect(await ok("run", "--rm", "-v", "nocopy:/data:nocopy", "filled", "ls", "-A", "/data")).toBe("");
    await ok("run", "--rm", "-v", "fill:/data", "filled", "sh", "-c", "rm -r /data/*; touch /data/.hidden");
    expect(await ok("run", "--rm", "-v", "fill:/data", "filled", "ls", "-A", "/data")).toBe(".hidden");
    expect(await engine.refused("create", "-v", "file:/file", "filled")).toContain("cannot mount volume over existing file, file exists /file");
    // by many at once: whoever is first fills it, and nobody sees half of it
    const together = Array.from({ length: 6 }, () => ok("run", "--rm", "-v", "shared:/data", "filled", "sh", "-c", list));
    for (const each of await Promise.all(together)) expect(each).toBe(wanted);
    await ok("volume", "rm", "fill", "nocopy", "shared");
  });

  test("places to mount that are missing are made as runc makes them, behind symbolic links too", async () => {
    const host = join(engine.root, "host");
    const file = join(engine.root, "file");
    mkdirSync(host);
    writeFileSync(file, "text\n");
    const mounts = ["-v", "deep:/a/b/c", "-v", `${file}:/x/y/z`, "-v", `${host}:/h`, "-v", "inner:/h/in/ner", "--tmpfs", "/t/u"];
    const shown = await ok("run", "--name", "made", ...mounts, "busybox", "stat", "-c", "%a %u:%g %n", "/a", "/a/b", "/x", "/x/y", "/h/in", "/t");
    expect(shown.split("\n")).toEqual(["/a", "/a/b", "/x", "/x/y", "/h/in", "/t"].map((path) => `755 0:0 ${path}`));
    expect([statSync(join(host, "in")).mode & 0o7777, statSync(join(host, "in/ner")).mode & 0o7777]).toEqual([0o755, 0o755]);
    // as the container's own layer has them
    await ok("commit", "made", "with-places");
    const bare = await ok("run", "--rm", "with-places", "stat", "-c", "%a %n", "/a/b/c", "/x/y/z", "/t/u");
    expect(bare.split("\n")).toEqual(["755 /a/b/c", "644 /x/y/z", "755 /t/u"]);

    await ok("run", "--name", "linker", "busybox", "sh", "-c", "ln -s /far/away /link; ln -s ../../behind /a; ln -s /loop /loop; mkdir /plain");
    await ok("commit", "linker", "with-links");
    const behind = ["-v", "deep:/link", "-v", `${file}:/a`, "-v", `${host}:/plain:ro`];
    expect(await ok("run", "--rm", ...behind, "with-links", "sh", "-c", "touch /far/away/here && cat /behind && stat -c %a /far")).toBe("text\n755");
    expect(existsSync(data("deep", "here"))).toBe(true);
    expect((await engine.docker(["run", "--rm", "-v", "deep:/loop", "with-links", "true"])).stderr).toContain("loop");
    // nothing is made in what is mounted read-only
    const inside = await engine.docker(["run", "--rm", "-v", `${host}:/h:ro`, "-v", "inner:/h/other", "busybox", "true"]);
    expect([inside.stderr, existsSync(join(host, "other"))]).toEqual([expect.stringContaining("Read-only file system"), false]);
    await ok("rm", "made", "linker");
    await ok("rmi", "with-places", "with-links");
    await ok("volume", "rm", "deep", "inner");
  });

  test("a directory of the host as a volume", async () => {
    const device = join(engine.root, "on-host");
    mkdirSync(device);
    const bind = (...more: string[]): string[] => ["-o", "type=none", "-o", `device=${device}`, "-o", `o=${["bind", ...more].join(",")}`];
    await ok("volume", "create", ...bind(), "hosted");
    await ok("volume", "create", ...bind("ro"), "read-only");
    expect(await ok("run", "--rm", "-v", "hosted:/data", "filled", "cat", "/data/f")).toBe("1");
    expect(statSync(device).mode & 0o7777).toBe(0o2775);
    expect(readdirSync(device).sort()).toEqual(["f", "h", "l", "p", "sub"]);
    expect(isMounted("hosted")).toBe(false);
    expect((await engine.docker(["run", "--rm", "-v", "read-only:/x", "busybox", "touch", "/x/f"])).stderr).toContain("Read-only file system");
    // only its owner removes what lies elsewhere
    expect(await ok("volume", "prune", "-af")).not.toContain("hosted");
    await ok("volume", "rm", "hosted", "read-only");
    expect(existsSync(join(device, "f"))).toBe(true);
    // what the host has mounted somehow is so in the container
    Bun.spawnSync(["mount", "--bind", device, device]);
    Bun.spawnSync(["mount", "-o", "remount,bind,ro,nosuid,nodev", device]);
    try {
      const { stdout, stderr } = await engine.docker(["run", "--rm", "-v", `${device}:/x`, "busybox", "sh", "-c", "grep ' /x ' /proc/mounts; touch /x/f"]);
      expect(stdout).toContain(" ro,nosuid,nodev,");
      expect(stderr).toContain("Read-only file system");
    } finally {
      Bun.spawnSync(["umount", device]);
    }
  });

  test("mounted with the first, unmounted after the last, over the engine's death too", async () => {
    const tmpfs = ["-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=7,nosuid"];
    await ok("volume", "create", ...tmpfs, "ram");
    await ok("volume", "create", ...tmpfs, "left");
    const start = (name: string, volume: string): Promise<string> => ok("run", "-d", "--name", name, "-v", `${volume}:/x`, "busybox", "sleep", "1000");
    await start("one", "ram");
    await start("two", "ram");
    await ok("exec", "one", "touch", "/x/seen");
    expect(await ok("exec", "two", "sh", "-c", "stat -c %u /x; ls /x; grep -c ' /x tmpfs rw,nosuid.*size=1024k' /proc/mounts")).toBe("7\nseen\n1");
    expect((await engine.docker(["exec", "two", "dd", "if=/dev/zero", "of=/x/big", "bs=1024", "count=2000"])).stderr).toContain("No space left on device");
    await ok("rm", "-f", "one");
    expect(isMounted("ram")).toBe(true);
    await start("alone", "left");
    const pid = Number(await ok("inspect", "-f", "{{.State.Pid}}", "alone"));
    await engine.kill9();
    process.kill(pid, "SIGKILL");
    await engine.start();
    expect(await engine.stateOf("alone")).toStartWith("exited 137");
    await until("what nobody uses is unmounted", () => !isMounted("left"));
    expect(isMounted("ram")).toBe(true);
    await start("three", "ram");
    expect(await ok("exec", "three", "ls", "/x")).toContain("seen");
    // taken away by somebody: those that run keep theirs, the next ones get it anew
    Bun.spawnSync(["umount", "-l", data("ram")]);
    await start("four", "ram");
    expect(await ok("exec", "four", "stat", "-c", "%u", "/x")).toBe("7");
    await ok("rm", "-f", "two", "three", "four", "alone");
    expect(isMounted("ram")).toBe(false);
    await ok("volume", "rm", "ram", "left");
  });

  test("the options that docs/volumes.md shows are taken", async () => {
    const text = readFileSync(resolve(import.meta.dir, "../../docs/volumes.md"), "utf8");
    const examples = [...text.matchAll(/`(-o (?:type|size)=[^`]+)`/g)].map(([, example = ""]) => example);
    expect(examples.length).toBe(8);
    for (const example of examples) {
      const { code, stderr } = await engine.berth(["volume", "create", ...example.split(" "), "example"]);
      if (example.startsWith("-o size=")) expect([code, stderr].join()).toMatch(/^0|quota size requested but no quota support/);
      else expect([code, stderr]).toEqual([0, ""]);
      await ok("volume", "rm", "-f", "example");
    }
  });

  test("a mount that fails says why and leaves nothing", async () => {
    const volume = (name: string, options: Record<string, string>): Promise<unknown> => create({ Name: name, DriverOpts: options });
    await volume("nowhere", { type: "none", device: "/nonexistent", o: "bind" });
    await volume("unknown", { type: "nope", device: "x" });
    await volume("invalid", { type: "tmpfs", device: "tmpfs", o: "wat=1" });
    await volume("nfs", { type: "nfs", device: ":/x", o: "addr=localhost,vers=4.1,proto=nope" });
    await volume("named", { type: "nfs", device: ":/x", o: "addr=no-such-host.invalid" });
    await volume("cifs", { type: "cifs", device: "//127.0.0.1/x", o: "username=me,password=geheim,port=1" });
    const failed = async (name: string): Promise<string> => {
      const text = await engine.refused("run", "--rm", "-v", `${name}:/data`, "filled", "true");
      expect(isMounted(name)).toBe(false);
      return text;
    };
    const words = (name: string, device: string, rest: string): string =>
      `error while mounting volume '${data(name)}': failed to mount local volume: mount ${device}:${data(name)}${rest}`;
    expect(await failed("nowhere")).toContain(
      words("nowhere", "/nonexistent", ", flags: 0x1000: no such file or directory (there is no /nonexistent on the host)"),
    );
    expect(await failed("unknown")).toContain(words("unknown", "x", ': no such device (this kernel has no file system "nope")'));
    expect(await failed("invalid")).toContain(words("invalid", "tmpfs", ", data: wat=1: invalid argument"));
    expect(await failed("nfs")).toMatch(/data: addr=(127\.0\.0\.1|::1),vers=4\.1,proto=nope: /);
    expect(await failed("named")).toContain("error resolving passed in network volume address: lookup no-such-host.invalid");
    expect(await failed("cifs")).toContain("data: username=me,password=********,port=1,ip=127.0.0.1: ");
    expect(await ok("volume", "inspect", "cifs")).toContain('"o": "username=me,password=********,port=1"');
    await ok(
      "create",
      "--name",
      "told",
      "--mount",
      'type=volume,src=cifs,dst=/x,volume-opt=type=cifs,volume-opt=device=//a/b,"volume-opt=o=password=geheim,ro"',
      "busybox",
    );
    expect(await ok("inspect", "-f", "{{json .HostConfig.Mounts}}", "told")).toContain('"o":"password=********,ro"');
    await ok("rm", "told");
    expect(engine.log()).not.toContain("geheim");
    // what was mounted before is unmounted, whatever fails after it
    await volume("good", { type: "tmpfs", device: "tmpfs" });
    await engine.refused("run", "--rm", "-v", "good:/x", "-v", "nowhere:/y", "busybox", "true");
    expect(isMounted("good")).toBe(false);
    await engine.refused("run", "--rm", "-v", "good:/x", "busybox", "/no-such-program");
    expect(isMounted("good")).toBe(false);
    expect(await ok("ps", "-aq")).toBe("");
    await ok("volume", "rm", "good", "nowhere", "unknown", "invalid", "nfs", "named", "cifs");
    const bad: [Record<string, string>, string][] = [
      [{ type: "tmpfs" }, 'missing required option: "device"'],
      [{ size: "wat" }, "invalid size: 'wat'"],
      [{ type: "none", device: "relative", o: "bind" }, 'device must be an absolute path, not "relative"'],
    ];
    for (const [options, message] of bad) expect(await create({ Name: "bad", DriverOpts: options })).toEqual([400, { message: `create bad: ${message}` }]);
    expect(await names({})).toEqual([]);
  });

  test("one directory of a volume", async () => {
    await ok("run", "--rm", "-v", "whole:/w", "busybox", "sh", "-c", "mkdir -p /w/a/b; echo 1 >/w/a/b/f; ln -s a/b /w/in; ln -s /etc /w/out; ln -s .. /w/up");
    const part = (subpath: string): string[] => ["--mount", `type=volume,src=whole,dst=/x,volume-subpath=${subpath}`];
    for (const inside of ["a/b", "in", "a/../a/b"]) expect(await ok("run", "--rm", ...part(inside), "busybox", "cat", "/x/f")).toBe("1");
    expect(await ok("run", "--rm", ...part("a/b/f"), "busybox", "cat", "/x")).toBe("1");
    for (const outside of ["out", "up", "out/passwd"]) {
      expect(await engine.refused("run", "--rm", ...part(outside), "busybox", "true")).toContain(
        `path concatenation escapes the base directory, base: ${data("whole")}, subpath: ${outside}`,
      );
    }
    const missing = data("whole", "no");
    expect(await engine.refused("run", "--rm", ...part("no"), "busybox", "true")).toContain(
      `cannot access path ${missing}: lstat ${missing}: no such file or directory`,
    );
    for (const bad of ["../x", "/etc"])
      expect(await engine.refused("create", ...part(bad), "busybox")).toContain("subpath must be a relative path within the volume");
    await ok("volume", "rm", "whole");
  });

  test("a directory that somebody took away, and what somebody mounted in one", async () => {
    await ok("create", "--name", "user", "-v", "gone:/x", "busybox", "true");
    rmSync(data("gone"), { recursive: true });
    for (const args of [
      ["start", "user"],
      ["create", "-v", "gone:/x", "busybox"],
    ]) {
      expect(await engine.refused(...args)).toContain(
        `error while mounting volume '${data("gone")}': it is gone: somebody removed the directory of volume gone`,
      );
    }
    await ok("rm", "user");
    await ok("volume", "rm", "gone");
    // an administrator's disk under a volume isn't emptied with it
    await ok("volume", "create", "under");
    const disk = join(engine.root, "disk");
    mkdirSync(disk);
    writeFileSync(join(disk, "f"), "kept");
    mkdirSync(data("under", "deep"));
    Bun.spawnSync(["mount", "--bind", disk, data("under", "deep")]);
    await ok("volume", "rm", "under");
    expect(readFileSync(join(disk, "f"), "utf8")).toBe("kept");
    expect(existsSync(data("under"))).toBe(false);
    // and a link in its place isn't followed
    await ok("volume", "create", "linked");
    rmSync(data("linked"), { recursive: true });
    symlinkSync(disk, data("linked"));
    await ok("volume", "rm", "linked");
    expect(existsSync(join(disk, "f"))).toBe(true);
  });

  test.skipIf(skipped("loop"))("a file system in a file, and a full one", async () => {
    const image = join(engine.root, "disk.img");
    writeFileSync(image, new Uint8Array(512 << 10));
    expect(Bun.spawnSync(["mkfs.ext4", "-q", "-F", image]).exitCode).toBe(0);
    await ok("volume", "create", "-o", "type=ext4", "-o", `device=${image}`, "-o", "o=noatime", "disk");
    expect(await ok("run", "--rm", "-v", "disk:/x", "busybox", "sh", "-c", "echo 1 >/x/f; grep -c '^/dev/loop.* /x ext4 rw,noatime' /proc/mounts")).toBe("1");
    expect(isMounted("disk")).toBe(false);
    expect(await ok("run", "--rm", "-v", "disk:/x", "busybox", "cat", "/x/f")).toBe("1");
    await until("the loop device is free", () => !Bun.spawnSync(["losetup", "-a"]).stdout.toString().includes(image));
    await ok("volume", "rm", "disk");
    expect(existsSync(image)).toBe(true);
    // the image's files don't fit: told, and nothing half-copied
    rmSync(image);
    writeFileSync(image, new Uint8Array(512 << 10));
    Bun.spawnSync(["mkfs.ext4", "-q", "-F", image]);
    // it would count as filled
    Bun.spawnSync(["debugfs", "-w", "-R", "rmdir lost+found", image]);
    await ok("run", "--name", "maker", "busybox", "sh", "-c", "mkdir /big; dd if=/dev/urandom of=/big/f bs=1024 count=1000");
    await ok("commit", "maker", "big");
    await ok("rm", "maker");
    await ok("volume", "create", "-o", "type=ext4", "-o", `device=${image}`, "small");
    expect(await engine.refused("create", "-v", "small:/big", "big")).toContain("No space left on device");
    expect(await ok("run", "--rm", "-v", "small:/x", "busybox", "ls", "-A", "/x")).toBe("");
    await ok("volume", "rm", "small");
  });
});
