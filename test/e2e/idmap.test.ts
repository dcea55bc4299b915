import { describe, expect, test } from "bun:test";
import { chownSync, lstatSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { examplesOf } from "../documented.ts";
import { skipped } from "../skips.ts";
import { run, suiteEngine } from "./harness.ts";

/** Files of the host with the owners that the container's user would have: `idmap` of binds and volumes. */
describe.skipIf(skipped("root", "overlay", "docker", "userns"))("idmap", () => {
  const engine = suiteEngine(["--userns-remap", "default", "--add-runtime", `other=${Bun.which("runc")}`], undefined, { ownEtc: true });
  const ok = (...args: string[]): Promise<string> => engine.ok(...args);
  /** Most of it has nothing to do with user namespaces. */
  const sh = (script: string, ...options: string[]): Promise<string> => ok("run", "--rm", "--userns", "host", ...options, "busybox", "sh", "-c", script);
  const shIn = (script: string, ...options: string[]): Promise<string> => ok("run", "--rm", ...options, "busybox", "sh", "-c", script);
  const refused = (...args: string[]): Promise<string> => engine.refused(...args);
  const owner = (path: string): string => `${lstatSync(path).uid}:${lstatSync(path).gid}`;
  const list = "stat -c %u:%g /d /d/f";

  let count = 0;
  /** A folder with a file in it, both of that owner. */
  function folder(uid: number, gid = uid): string {
    const path = join(engine.root, `files${count++}`);
    mkdirSync(path);
    writeFileSync(join(path, "f"), "x");
    for (const each of [path, join(path, "f")]) chownSync(each, uid, gid);
    return path;
  }

  test("the folder's owner is the container's user, and what that user makes is the owner's", async () => {
    const mine = folder(1234, 2345);
    expect(await sh(`${list}; touch /d/root`, "-v", `${mine}:/d:idmap`)).toBe("0:0\n0:0");
    expect(owner(join(mine, "root"))).toBe("1234:2345");
    expect(await sh(`${list}; touch /d/worker`, "-u", "worker", "-v", `${mine}:/d:rw,idmap`)).toBe("1000:1000\n1000:1000");
    expect(owner(join(mine, "worker"))).toBe("1234:2345");
    expect(await sh(list, "-v", `${mine}:/d:idmap=worker`)).toBe("1000:1000\n1000:1000");
    expect(await sh(list, "-v", `${mine}:/d:idmap=77`)).toBe("77:0\n77:0");
    expect(await sh(list, "-v", `${mine}:/d`)).toBe("1234:2345\n1234:2345");
    expect(await sh(`${list}; touch /d/x 2>&1`, "-v", `${mine}:/d:ro,idmap`).catch(String)).toContain("Read-only file system");
    expect(await sh(`${list}; touch /d/other`, "--runtime", "other", "-u", "worker", "-v", `${mine}:/d:idmap`)).toBe("1000:1000\n1000:1000");
    expect(owner(join(mine, "other"))).toBe("1234:2345");
    expect(await refused("run", "--rm", "--userns", "host", "-v", `${mine}:/d:idmap=nobodyhere`, "busybox", "true")).toContain(
      "unable to find user nobodyhere",
    );
  });

  test("the two ids change places, but root's files become nobody else's", async () => {
    const mine = folder(1234);
    writeFileSync(join(mine, "roots"), "");
    writeFileSync(join(mine, "workers"), "");
    chownSync(join(mine, "workers"), 1000, 1000);
    expect(await sh("stat -c %u:%g /d/roots", "-v", `${mine}:/d:idmap`)).toBe("65534:65534");
    expect(await sh("chmod 777 /d; stat -c %u /d/roots; touch /d/r", "-v", `${mine}:/d:idmap=worker`)).toBe("0");
    expect(await sh("stat -c %u:%g /d/workers; touch /d/y", "-u", "1234:1234", "-v", `${mine}:/d:idmap=worker`)).toBe("1234:1234");
    expect(owner(join(mine, "y"))).toBe("1000:1000");
    expect(await sh("touch /d/z 2>&1 || true", "-u", "1234:1234", "-v", `${mine}:/d:idmap=0`)).toContain("Value too large");
  });

  test("ranges: these owners are those, the rest is as it was", async () => {
    const mine = folder(1234, 2345);
    writeFileSync(join(mine, "roots"), "");
    const seen = "stat -c %u:%g /d/f /d/roots";
    expect(await sh(seen, "-v", `${mine}:/d:idmap=1234-5`)).toBe("5:2345\n0:0");
    expect(await sh(`${seen}; touch /d/new; chown 15:17 /d/new`, "-v", `${mine}:/d:idmap=uids=1230-10-10;gids=2345-17`)).toBe("14:17\n0:0");
    expect(owner(join(mine, "new"))).toBe("1235:2345");
    expect(await refused("create", "-v", `${mine}:/d:idmap=0-1-5#3-9`, "busybox")).toContain("id 3 of the host twice");
    expect(await refused("create", "-v", `${mine}:/d:idmap,idmap=x`, "busybox")).toContain("invalid mode: idmap,idmap=x");
  });

  test("with a user namespace ids are the container's own", async () => {
    const mine = folder(1234, 2345);
    expect(await shIn(list, "-v", `${mine}:/d`)).toBe("65534:65534\n65534:65534");
    expect(await shIn(`${list}; touch /d/byroot`, "-v", `${mine}:/d:idmap`)).toBe("0:0\n0:0");
    expect(await shIn(`${list}; touch /d/byworker`, "-u", "worker", "-v", `${mine}:/d:idmap`)).toBe("1000:1000\n1000:1000");
    expect([join(mine, "byroot"), join(mine, "byworker")].map(owner)).toEqual(["1234:2345", "1234:2345"]);
    expect(await shIn(list, "-v", `${mine}:/d:idmap=1234-7#2345-8`)).toBe("7:8\n7:8");
    expect(await shIn(list, "-v", `${mine}:/d:idmap=userns`)).toBe("1234:2345\n1234:2345");
    expect(await shIn(list, "-v", `${mine}:/d:idmap`, "--label", "berth.userns=private")).toBe("0:0\n0:0");
    expect(await refused("run", "--rm", "-v", `${mine}:/d:idmap=1234-70000`, "busybox", "true")).toContain("doesn't have all ids from 70000 to 70000");
    expect(await refused("run", "--rm", "--userns", "host", "-v", `${mine}:/d:idmap=userns`, "busybox", "true")).toContain("has no user namespace of its own");
  });

  test("volumes: a new one is its user's, whoever that is", async () => {
    for (const run of [sh, shIn]) {
      const name = run === sh ? "plain" : "remapped";
      expect(await run("touch /d/f; stat -c %u:%g /d /d/f", "-u", "worker", "-v", `${name}:/d:idmap`)).toBe("1000:1000\n1000:1000");
      expect(await run("stat -c %u:%g /d/f; touch /d/g", "-v", `${name}:/d`)).toBe("0:0");
      expect(await run("stat -c %u:%g /d/g; mkdir /d/sub; touch /d/sub/f", "-u", "worker", "-v", `${name}:/d:idmap`)).toBe("1000:1000");
      // container's root keeps a place
      await run("touch /d/h", "-v", `${name}:/d:idmap=worker`);
    }
    await ok("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=uid=55", "memory");
    expect(await sh("stat -c %u /d", "-v", "memory:/d:idmap")).toBe("0");
  });

  test("berth's own flags, the API, a label, and inspect", async () => {
    const mine = folder(1234);
    const berth = async (...args: string[]): Promise<string> => {
      const { code, stdout, stderr } = await engine.berth(["run", "--rm", "--userns", "host", ...args]);
      expect([code, stderr]).toEqual([0, ""]);
      return stdout.trim();
    };
    for (const key of ["idmap", "bind-idmap", "bind-idmap=match-user", "idmap=match-user:0:0", "idmap=1234-0"]) {
      expect(await berth("--mount", `type=bind,src=${mine},dst=/d,${key}`, "busybox", "sh", "-c", list)).toBe("0:0\n0:0");
    }
    expect(await berth("--mount", "type=volume,src=vol,dst=/d,idmap=worker", "busybox", "stat", "-c", "%u", "/d")).toBe("1000");
    expect((await engine.berth(["create", "--mount", "type=tmpfs,dst=/d,idmap", "busybox"])).code).toBe(125);
    expect(await sh(list, "--label", "berth.idmap=/d=worker,/e", "-v", `${mine}:/d`, "-v", `${mine}:/e`)).toBe("1000:1000\n1000:1000");
    expect(await refused("create", "--label", "berth.idmap=/nowhere", "busybox")).toContain("/nowhere: no bind or volume is mounted there");

    const id = await ok(
      "create",
      "--userns",
      "host",
      "--name",
      "shown",
      "-v",
      `${mine}:/d:idmap=worker`,
      "busybox",
      "sh",
      "-c",
      `${list}; touch /d/made; sleep 1000`,
    );
    expect(await ok("inspect", "--format", "{{json .Mounts}}", id)).toContain('"Mode":"idmap=worker"');
    const { Mounts: mounts } = (await (await engine.api("GET", `/containers/${id}/json`)).json()) as { Mounts: object[] };
    expect(mounts).toMatchObject([{ IDMapping: { Source: "match-user", User: "worker" } }]);
    // copied in and out at rest and running, and over restarts of both
    writeFileSync(join(engine.root, "local"), "1");
    await ok("cp", join(engine.root, "local"), "shown:/d/copied");
    expect(owner(join(mine, "copied"))).toBe("0:0");
    await ok("start", "shown");
    await engine.stop();
    await engine.start();
    expect(await ok("exec", "shown", "stat", "-c", "%u", "/d/f")).toBe("1000");
    await ok("restart", "-t", "0", "shown");
    expect(await ok("exec", "-u", "worker", "shown", "sh", "-c", "touch /d/byexec; stat -c %u /d/byexec")).toBe("1000");
    expect(owner(join(mine, "byexec"))).toBe("1234:1234");
    expect(await sh(list, "--volumes-from", "shown")).toBe("1000:1000\n1000:1000");
    await ok("rm", "-f", "shown");
  });

  test("what the documentation shows", async () => {
    renameSync(folder(1234), join(engine.root, "src"));
    for (const line of examplesOf("idmap.md")) {
      const [command = "", expected = ""] = line.split("#").map((part) => part.trim());
      const words = command.split(" ").map((word) => word.replace("./src", join(engine.root, "src")));
      if (words[0] === "stat") expect([line, String(lstatSync(join(engine.root, words.at(-1)!)).uid)]).toEqual([line, expected]);
      else if (words[0] === "berth")
        expect([line, await engine.berth([...words.slice(1, 3), "--userns=host", ...words.slice(3)])]).toEqual([
          line,
          { code: 0, stdout: `${expected}\n`, stderr: "" },
        ]);
      else expect([line, await ok(...words.slice(1, 3), "--userns=host", ...words.slice(3))]).toEqual([line, expected]);
    }
  });

  test("what is mounted below it, too", async () => {
    const mine = folder(1234);
    const onHost = async (...command: string[]): Promise<number> => (await run([...engine.onHost, ...command])).code;
    for (const name of ["memory", "kernel"]) mkdirSync(join(mine, name));
    expect(await onHost("mount", "-t", "tmpfs", "-o", "uid=1234,gid=1234", "tmpfs", join(mine, "memory"))).toBe(0);
    expect(await sh("stat -c %u:%g /d/memory", "-v", `${mine}:/d:idmap`)).toBe("0:0");
    expect(await onHost("mount", "-t", "sysfs", "sysfs", join(mine, "kernel"))).toBe(0);
    const below = "something mounted below it is of a file system without idmapped mounts";
    expect(await refused("run", "--rm", "--userns", "host", "-v", `${mine}:/d:idmap`, "busybox", "true")).toContain(below);
    const plain = [
      "run",
      "--rm",
      "--userns=host",
      "--mount",
      `type=bind,src=${mine},dst=/d,idmap,bind-nonrecursive`,
      "busybox",
      "stat",
      "-c",
      "%u:%g",
      "/d",
      "/d/memory",
    ];
    expect(await engine.berth(plain)).toEqual({ code: 0, stdout: "0:0\n65534:65534\n", stderr: "" });
    for (const name of ["memory", "kernel"]) expect(await onHost("umount", join(mine, name))).toBe(0);
  });

  test("what can't be is refused with the reason", async () => {
    const options = ["run", "--rm", "--userns", "host", "-u", "worker"];
    expect(await refused(...options, "-v", "/sys/kernel/mm:/d:idmap", "busybox", "true")).toContain(
      "its file system, sysfs, has no idmapped mounts on this kernel",
    );
    const mine = folder(1234);
    expect(await refused("create", "-v", `${mine}:/d:idmap,rshared`, "busybox")).toContain("doesn't go with propagation rshared");
    const bad = { Image: "busybox", HostConfig: { Mounts: [{ Type: "bind", Source: mine, Target: "/d", BindOptions: { IDMapping: { Source: "magic" } } }] } };
    const answer = await engine.api("POST", "/containers/create", bad);
    expect([answer.status, await answer.text()]).toEqual([400, expect.stringContaining("unknown IDMapping source")]);
  });
});
