import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { readTar } from "../../src/lib/tar-reader.ts";
import { tarOf, type TarHeaderInit } from "../../src/lib/tar-writer.ts";
import { kernelState, leaks } from "../leaks.ts";
import { skipped } from "../skips.ts";
import { Engine, run, until, type Output, type RunOptions } from "./harness.ts";

/** Files into and out of containers, by the commands that people use and by the API where that is what counts. */
describe.skipIf(skipped("root", "overlay", "docker"))("copying files", () => {
  let engine: Engine;
  let before: Set<string>;
  let folder: string;
  const ok = (...args: string[]): Promise<string> => engine.ok(...args);
  const local = (...parts: string[]): string => join(folder, ...parts);

  beforeAll(async () => {
    engine = await Engine.start();
    before = kernelState(engine.root);
    await engine.importBusybox();
    await ok("run", "-d", "--name", "box", "-v", "files:/vol", "-v", "kept:/fixed:ro", "--tmpfs", "/temp", "busybox", "sleep", "100000");
  });
  afterAll(async () => {
    await engine?.[Symbol.asyncDispose]();
  });
  beforeEach(() => {
    folder = mkdtempSync(join(engine.root, "files-"));
    mkdirSync(local("d/sub"), { recursive: true });
    writeFileSync(local("d/one"), "1\n");
    writeFileSync(local("d/sub/two"), "2\n", { mode: 0o640 });
    symlinkSync("one", local("d/link"));
    writeFileSync(local("file"), "text\n");
    chownSync(local("d/one"), 1234, 1235);
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const inside = (script: string, name = "box"): Promise<string> => ok("exec", name, "sh", "-c", script);
  const archive = (path: string, name = "box", more = ""): string => `/containers/${name}/archive?path=${encodeURIComponent(path)}${more}`;
  const put = async (path: string, entries: (TarHeaderInit & { body?: string })[], name?: string, more?: string): Promise<{ status: number; text: string }> => {
    const init = { unix: engine.socket, method: "PUT", body: new Uint8Array(tarOf(entries)) } as RequestInit;
    const answer = await fetch(`http://engine${archive(path, name, more)}`, init);
    return { status: answer.status, text: await answer.text() };
  };
  const namesIn = async (answer: Response): Promise<string[]> => {
    const names: string[] = [];
    for await (const { header } of readTar(answer.body as unknown as AsyncIterable<Uint8Array>)) names.push(header.name);
    return names;
  };
  const statOf = (answer: Response): Record<string, unknown> =>
    JSON.parse(Buffer.from(answer.headers.get("x-docker-container-path-stat") ?? "", "base64").toString());

  describe.each([
    ["docker", (args: string[], options?: RunOptions): Promise<Output> => engine.docker(["cp", ...args], options)],
    ["berth", (args: string[], options?: RunOptions): Promise<Output> => engine.berth(["cp", "-q", ...args], options)],
  ])("%s cp", (client, cp) => {
    const works = async (...args: string[]): Promise<void> => expect(await cp(args)).toMatchObject({ code: 0 });
    const fails = async (text: string, ...args: string[]): Promise<void> => {
      const { code, stderr } = await cp(args);
      // docker 20.10 has words of its own for a 404
      const isOlder = /^(Could not find the file|No such container)/.test(text) && stderr.startsWith("Error: No such container:path: ");
      if (!isOlder) expect(stderr).toContain(text);
      expect(code).toBe(1);
    };
    let at: string;
    beforeEach(async () => {
      at = `/${client}`;
      await inside(`rm -rf ${at} && mkdir ${at}`);
    });

    test("a file in and out, renamed or not", async () => {
      await works(local("file"), `box:${at}`);
      await works(local("file"), `box:${at}/named`);
      expect(await inside(`cat ${at}/file ${at}/named`)).toBe("text\ntext");
      await works(`box:${at}/named`, local("back"));
      await works(`box:${at}/named`, folder);
      expect(readFileSync(local("back"), "utf8") + readFileSync(local("named"), "utf8")).toBe("text\ntext\n");
    });

    test("a folder in and out: below, as and into another", async () => {
      await works(local("d"), `box:${at}/new`);
      await works(local("d"), `box:${at}/new`);
      await works(`${local("d")}/.`, `box:${at}/flat`);
      expect(await inside(`cd ${at}; ls new new/d flat | tr '\\n' ' '; readlink new/link; cat new/d/sub/two`)).toBe(
        "flat: link one sub  new: d link one sub  new/d: link one sub one\n2",
      );
      await works(`box:${at}/new/d`, local("out"));
      await works(`box:${at}/new/d/.`, local("out"));
      expect(readdirSync(local("out")).sort()).toEqual(["link", "one", "sub"]);
      expect(readlinkSync(local("out/link"))).toBe("one");
      expect(readFileSync(local("out/sub/two"), "utf8")).toBe("2\n");
      expect(lstatSync(local("out/sub/two")).mode & 0o777).toBe(0o640);
    });

    test("onto a local link goes into the file behind it, and a file is no folder", async () => {
      await inside(`echo in > ${at}/f`);
      symlinkSync("file", local("alias"));
      await works(`box:${at}/f`, local("alias"));
      expect([readlinkSync(local("alias")), readFileSync(local("file"), "utf8")]).toEqual(["file", "in\n"]);
      await fails("not a directory", `box:${at}/f`, `${local("file")}/`);
    });

    test("- stands for a tar", async () => {
      const tar = await run(["tar", "-C", folder, "-cf", local("d.tar"), "d"]);
      expect(tar.code).toBe(0);
      expect(await cp(["-", `box:${at}`], { stdin: readFileSync(local("d.tar")) })).toMatchObject({ code: 0 });
      expect(await inside(`cat ${at}/d/sub/two`)).toBe("2");
      const { stdout, code } = await cp([`box:${at}/d`, "-"]);
      expect(code).toBe(0);
      expect(stdout).toContain("d/sub/two");
      expect(await cp(["-", `box:${at}/d/one`], { stdin: "" })).toMatchObject({ code: 1, stderr: `destination "box:${at}/d/one" must be a directory\n` });
    });

    test("sparse files of tar keep their holes, in all of its formats", async () => {
      const holes = local("holes");
      writeFileSync(holes, "");
      truncateSync(holes, 9_000_000);
      const fd = openSync(holes, "r+");
      writeSync(fd, "end", 6_000_000);
      closeSync(fd);
      for (const format of ["gnu", "pax"]) {
        const tar = Bun.spawnSync(["tar", "--sparse", `--format=${format}`, "-C", folder, "-cf", "-", "holes"]).stdout;
        expect(await cp(["-", `box:${at}`], { stdin: tar })).toMatchObject({ code: 0 });
        const md5 = new Bun.CryptoHasher("md5").update(readFileSync(holes)).digest("hex");
        expect(await inside(`cd ${at} && md5sum < holes; stat -c %s holes; du -k holes | cut -f1; rm holes`)).toBe(`${md5}  -\n9000000\n4`);
      }
    });
    test("owners are kept, or become the container's user's", async () => {
      await works(local("d"), `box:${at}/kept`);
      expect(await inside(`stat -c %u:%g ${at}/kept/one ${at}/kept/sub`)).toBe("1234:1235\n0:0");
      const id = await ok("create", "--user", "worker", "busybox");
      await works("-a", local("d"), `${id}:/home`);
      await works(local("d"), `${id}:/srv`);
      await ok("rm", id);
      await ok("run", "-d", "--name", `user-${client}`, "--user", "33:44", "busybox", "sleep", "1000");
      await works("-a", local("d"), `user-${client}:/tmp/mine`);
      await works(local("d"), `user-${client}:/tmp/theirs`);
      expect(await inside("stat -c %u:%g /tmp/mine/one /tmp/mine/sub /tmp/theirs/one", `user-${client}`)).toBe("33:44\n33:44\n1234:1235");
      await ok("rm", "-f", `user-${client}`);
    });

    test("symlinks are copied, or followed within the container", async () => {
      await inside(`cd ${at}; mkdir real; echo r > real/f; ln -s real dir; ln -s ${at}/real/f abs; ln -s /etc/passwd pw; ln -s /etc/shadow sh`);
      await works(`box:${at}/dir`, local("asLink"));
      await works(`box:${at}/dir/`, local("asFolder"));
      await works("-L", `box:${at}/abs`, local("followed"));
      await works("-L", `box:${at}/pw`, local("passwd"));
      expect(readlinkSync(local("asLink"))).toBe("real");
      expect(readFileSync(local("asFolder/f"), "utf8") + readFileSync(local("followed"), "utf8")).toBe("r\nr\n");
      expect(readFileSync(local("passwd"), "utf8")).toContain("worker:x:1000");
      // the host has one, the container hasn't
      expect(existsSync("/etc/shadow")).toBe(true);
      await fails("Could not find the file", "-L", `box:${at}/sh`, local("shadow"));
      // into a folder behind a link
      await works(local("file"), `box:${at}/dir`);
      await works(local("file"), `box:${at}/abs`);
      expect(await inside(`cd ${at}; cat real/file real/f; readlink abs`)).toBe(`text\ntext\n${at}/real/f`);
    });

    test("into volumes and tmpfs, running and at rest", async () => {
      const name = `rest-${client}`;
      await ok("create", "--name", name, "-v", `files-${client}:/vol/deep`, "-v", `${folder}:/bound`, "busybox", "true");
      // Never started: nothing of its mounts is there yet.
      await works(local("d"), `${name}:/vol/deep`);
      await works(local("file"), `${name}:/bound/arrived`);
      expect(readFileSync(local("arrived"), "utf8")).toBe("text\n");
      expect(readFileSync(join(engine.root, `data/volumes/files-${client}/_data/d/sub/two`), "utf8")).toBe("2\n");
      await ok("start", "-a", name);
      await works(`${name}:/vol/deep/d/one`, local("from-volume"));
      await works(`${name}:/vol`, local("whole"));
      expect(readFileSync(local("whole/deep/d/one"), "utf8")).toBe("1\n");
      await works(`${name}:/bound/file`, local("from-bind"));
      await ok("rm", "-v", name);
      await ok("volume", "rm", `files-${client}`);
      await works(local("file"), "box:/temp/t");
      await works(local("file"), "box:/vol/v");
      expect(await inside("cat /temp/t /vol/v")).toBe("text\ntext");
      await works("box:/temp/t", local("t"));
    });

    test("a paused container", async () => {
      await ok("pause", "box");
      try {
        await works(local("file"), `box:${at}/still`);
        await works(`box:${at}/still`, local("still"));
      } finally {
        await ok("unpause", "box");
      }
      expect(readFileSync(local("still"), "utf8")).toBe("text\n");
    });

    test("refusals in Docker's words", async () => {
      await fails("Could not find the file /nope in container box", "box:/nope", folder);
      await fails(`Could not find the file ${at}/no in container box`, local("file"), `box:${at}/no/such`);
      await fails("No such container: nobody", local("file"), "nobody:/x");
      await fails("mounted volume is marked read-only", local("file"), "box:/fixed");
      await fails("no such directory", local("file"), `box:${at}/no/`);
      await fails("cannot copy directory", local("d"), "box:/etc/passwd");
      await inside(`mkdir ${at}/file`);
      await fails(`cannot overwrite directory "${at}/file" with non-directory "${at}"`, local("file"), `box:${at}`);
      const sealed = await ok("create", "--read-only", "-v", "files:/vol", "busybox", "true");
      await fails("container rootfs is marked read-only", local("file"), `${sealed}:/tmp`);
      await works(local("file"), `${sealed}:/vol/through`);
      await ok("rm", sealed);
    });
  });

  describe("the endpoints", () => {
    test("HEAD tells what stands at a path", async () => {
      await inside(
        "rm -rf /s; mkdir -p /s/d; echo 12 > /s/f; chmod 4751 /s/f; touch -d '2020-01-02 03:04:05' /s/f; ln -s d /s/l; ln -s gone /s/broken; mkfifo /s/p",
      );
      const look = async (path: string): Promise<Record<string, unknown>> => {
        const answer = await engine.api("HEAD", archive(path));
        expect(answer.status).toBe(200);
        return statOf(answer);
      };
      expect(await look("/s/f")).toEqual({ name: "f", size: 3, mode: 2 ** 23 + 0o751, mtime: "2020-01-02T03:04:05Z", linkTarget: "" });
      expect(await look("s/../s//d/")).toMatchObject({ name: "d", mode: 2 ** 31 + 0o755 });
      expect(await look("/s/l")).toMatchObject({ name: "l", mode: 2 ** 27 + 0o777, linkTarget: "/s/d" });
      expect(await look("/s/l/")).toMatchObject({ name: "l", mode: 2 ** 31 + 0o755, linkTarget: "" });
      expect(await look("/s/broken")).toMatchObject({ linkTarget: "/s/gone" });
      expect(await look("/s/p")).toMatchObject({ mode: 2 ** 25 + 0o644 });
      expect(await look("../../s/l/.")).toMatchObject({ name: "." });
      expect(await look("/")).toMatchObject({ name: "/", mode: 2 ** 31 + 0o755 });
      const status = async (path: string): Promise<number> => (await engine.api("HEAD", archive(path))).status;
      expect(await Promise.all(["/s/none", "/s/none/", "/s/f/", "/s/f/x", "/s/broken/", "", "/s/\0", `/${"x".repeat(5000)}`].map(status))).toEqual([
        404, 404, 400, 400, 404, 400, 400, 400,
      ]);
    });

    test("GET's entries begin with the path's last part", async () => {
      await inside("rm -rf /s; mkdir -p /s/d; echo 1 > /s/d/f; ln -s d /s/l");
      const names = async (path: string): Promise<string[]> => {
        const answer = await engine.api("GET", archive(path));
        expect(answer.headers.get("content-type")).toBe("application/x-tar");
        return await namesIn(answer);
      };
      expect(await names("/s/d")).toEqual(["d/", "d/f"]);
      expect(await names("/s/d/")).toEqual(["d/", "d/f"]);
      expect(await names("/s/d/.")).toEqual(["./", "./f"]);
      expect(await names("/s/l")).toEqual(["l"]);
      expect(await names("/s/l/")).toEqual(["l/", "l/f"]);
      // All of it: mounts of the container are there, those of the runtime aren't.
      const whole = await names("/");
      expect(whole).toContain("/vol/");
      expect(whole).toContain("/s/d/f");
      expect(whole.filter((name) => /^\/(proc|sys|dev)\/./.test(name))).toEqual([]);
      expect(await (await engine.api("GET", archive("/proc/1/status"))).json()).toEqual({
        message: "Could not find the file /proc/1/status in container box",
      });
    });

    test("names may be any bytes", async () => {
      await inside("rm -rf /s; mkdir -p /s/$(printf 'd\\377') && echo in > /s/$(printf 'd\\377')/f");
      const path = `/containers/box/archive?path=/s/d%ff`;
      const stat = await engine.api("HEAD", path);
      expect([stat.status, statOf(stat)["name"]]).toEqual([200, "d\ufffd"]);
      expect(await namesIn(await engine.api("GET", path))).toEqual(["d\xff/", "d\xff/f"]);
      const body = new Uint8Array(tarOf([{ name: "\xfe", type: "file", body: "put" }]));
      expect((await fetch(`http://engine${path}`, { unix: engine.socket, method: "PUT", body } as RequestInit)).status).toBe(200);
      expect(await inside("cat /s/d*/*")).toBe("in\nput");
    });

    test("what the kernel makes up isn't there, whatever links say", async () => {
      await inside("rm -rf /s; mkdir /s; ln -s /proc/self/root /s/root; ln -s /proc/mounts /s/mtab");
      expect(statOf(await engine.api("HEAD", archive("/s/root")))).toMatchObject({ linkTarget: "/proc/self/root" });
      expect(statOf(await engine.api("HEAD", archive("/s/mtab")))).toMatchObject({ linkTarget: "/proc/mounts" });
      expect((await engine.api("HEAD", archive("/s/root/"))).status).toBe(404);
      expect(await put("/proc", [{ name: "f", type: "file" }])).toMatchObject({
        status: 400,
        text: '{"message":"/proc shows the state of the kernel: no files can be put there"}\n',
      });
    });

    test("the working directory of a container that never ran is there", async () => {
      const id = await ok("create", "-w", "/made/for/work", "busybox", "true");
      expect(await put("/made/for/work", [{ name: "f", type: "file", body: "x" }], id)).toMatchObject({ status: 200 });
      await ok("rm", id);
    });

    describe("large archives", () => {
      const files = Array.from({ length: 300 }, (_, n): TarHeaderInit & { body: string } => ({
        name: `big/f${n}`,
        type: "file",
        mode: n % 2 === 0 ? 0o640 : 0o4755,
        uid: n % 3,
        body: `${n} `.repeat(20_000),
      }));
      const tar = tarOf([{ name: "big/", type: "directory" }, ...files]);
      const sums = (): Promise<string> => inside("cd /s/big && ls -ln | awk '{ print $1, $3, $9 }' && sha256sum *");
      async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
        for (let at = 0; at < bytes.length; at += size) {
          yield bytes.subarray(at, at + size);
          if ((at / size) % 64 === 0) await Bun.sleep(2);
        }
      }
      beforeEach(() => inside("rm -rf /s; mkdir /s"));

      test("arrive the same however they are sent: whole, in chunks, compressed", async () => {
        const whole: Record<string, string> = {};
        const bodies: [string, () => unknown][] = [
          ["whole", () => new Uint8Array(tar)],
          ["chunked", () => pieces(tar, 10_000)],
          ["compressed", () => Bun.gzipSync(new Uint8Array(tar))],
          ["compressed, chunked", () => pieces(Bun.gzipSync(new Uint8Array(tar)), 1000)],
        ];
        for (const [how, body] of bodies) {
          await inside("rm -rf /s/big");
          const answer = await fetch(`http://engine${archive("/s")}`, { unix: engine.socket, method: "PUT", body: body() } as RequestInit);
          expect([how, answer.status, await answer.text()]).toEqual([how, 200, ""]);
          whole[how] = await sums();
        }
        expect(whole["whole"]).toContain(`-rwsr-xr-x 1 f1\n`);
        expect(new Set(Object.values(whole)).size).toBe(1);
        const names: string[] = [];
        let bytes = 0;
        for await (const { header, body } of readTar((await engine.api("GET", archive("/s/big"))).body as unknown as AsyncIterable<Uint8Array>)) {
          names.push(header.name);
          for await (const piece of body) bytes += piece.length;
        }
        expect(names.length).toBe(301);
        expect(bytes).toBe(files.reduce((sum, { body }) => sum + body.length, 0));
      });

      test("an owner and modes that a directory gives are the archive's in the end", async () => {
        await inside("mkdir /s/big && chown 7:8 /s/big && chmod 2775 /s/big");
        await put("/s/big", [
          { name: "plain", type: "file", mode: 0o666, body: "x" },
          { name: "again", type: "file", mode: 0o666, gid: 8, body: "x" },
          { name: "set", type: "file", mode: 0o6711, uid: 3, gid: 4, body: "x" },
        ]);
        expect(await inside("cd /s/big && ls -ln again plain set | awk '{ print $1, $3, $4, $9 }'")).toBe(
          "-rw-rw-rw- 0 8 again\n-rw-rw-rw- 0 0 plain\n-rws--s--x 3 4 set",
        );
      });

      test("one that breaks off leaves what came, and the engine to others", async () => {
        const half = new Promise<string>((resolve) => {
          const socket = connect(engine.socket, () => {
            socket.write(`PUT /v1.44${archive("/s")} HTTP/1.1\r\nHost: x\r\nContent-Length: ${tar.length}\r\n\r\n`);
            socket.write(tar.subarray(0, 1_000_000), () => setTimeout(() => resolve(sums()), 300));
            setTimeout(() => socket.destroy(), 600);
          });
        });
        expect(await half).toContain("f8");
        expect((await put("/s", [{ name: "other", type: "file", body: "x" }])).status).toBe(200);
        expect(await inside("cat /s/other")).toBe("x");
      });

      test("an answer whose reader is slow waits for it, and is whole", async () => {
        await put("/s", [{ name: "big/", type: "directory" }, ...files]);
        const reader = (await engine.api("GET", archive("/s/big"))).body!.getReader();
        let bytes = 0;
        async function* slowly(): AsyncGenerator<Uint8Array> {
          for (let step = await reader.read(); !step.done; step = await reader.read()) {
            bytes += step.value.length;
            await Bun.sleep(bytes < 2_000_000 ? 30 : 0);
            yield step.value;
          }
        }
        const wrong: string[] = [];
        const bodies = new Map(files.map(({ name, body }) => [name, body]));
        for await (const { header, body } of readTar(slowly())) {
          const text = (await Array.fromAsync(body, (piece) => Buffer.from(piece).toString())).join("");
          if (text !== (bodies.get(header.name) ?? "")) wrong.push(header.name);
          bodies.delete(header.name);
        }
        expect({ wrong, missing: [...bodies.keys()] }).toEqual({ wrong: [], missing: [] });
      });
    });

    test("PUT puts nothing outside, whatever links say", async () => {
      const outside = join(folder, "outside");
      mkdirSync(outside);
      await inside(`rm -rf /s; mkdir /s; ln -s ${outside} /s/far; ln -s /proc/1/root /s/magic; ln -s ../../../../.. /s/up`);
      expect(await put("/s", [{ name: "../../escaped", type: "file", body: "x" }])).toMatchObject({ status: 400 });
      expect(await put("/s/far", [{ name: "f", type: "file", body: "x" }])).toMatchObject({ status: 404 });
      // It is made in the container: its links are resolved there.
      expect(await put("/s", [{ name: "far/f", type: "file", body: "x" }])).toMatchObject({ status: 200 });
      expect(await put("/s", [{ name: "up/tmp/g", type: "file", body: "x" }])).toMatchObject({ status: 200 });
      expect(await inside(`cat ${outside}/f /tmp/g`)).toBe("xx");
      expect(await put("/s", [{ name: "h", type: "hardlink", linkName: "../../etc/passwd" }])).toMatchObject({ status: 400 });
      expect(
        await put("/s", [
          { name: "new", type: "symlink", linkName: outside },
          { name: "new/f2", type: "file", body: "x" },
        ]),
      ).toMatchObject({ status: 200 });
      // the kernel's own links lead nowhere
      expect((await put("/s/magic", [{ name: "magic", type: "file", body: "x" }])).status).toBe(404);
      expect(existsSync("/magic")).toBe(false);
      expect(readdirSync(outside)).toEqual([]);
      expect(existsSync("/tmp/g")).toBe(false);
    });

    test("PUT keeps kinds where asked, and marks of layers mean nothing", async () => {
      await inside("rm -rf /s; mkdir -p /s/d /s/real; echo 1 > /s/f; ln -s real /s/l");
      const keep = "&noOverwriteDirNonDir=true";
      expect(await put("/s", [{ name: "d", type: "file" }], "box", keep)).toEqual({
        status: 400,
        text: `{"message":"cannot overwrite directory \\"/s/d\\" with non-directory \\"/s\\""}\n`,
      });
      expect((await put("/s", [{ name: "f", type: "directory" }], "box", keep)).text).toContain("cannot overwrite non-directory");
      expect((await put("/s", [{ name: "l", type: "directory" }], "box", keep)).text).toContain("cannot overwrite non-directory");
      expect(await put("/s", [{ name: "d", type: "file", body: "now a file" }])).toMatchObject({ status: 200 });
      expect(await put("/s", [{ name: ".wh.f", type: "file", body: "plain" }])).toMatchObject({ status: 200 });
      expect(
        await put("/s", [
          { name: "./", type: "directory", mode: 0o700 },
          { name: "n1/n2/f", type: "file" },
        ]),
      ).toMatchObject({ status: 200 });
      expect(await inside("cd /s; cat d .wh.f f; stat -c %a . n1/n2")).toBe("now a fileplain1\n755\n755");
      expect((await put("/s/f", [])).text).toContain("extraction point is not a directory");
      expect((await put("", [])).text).toContain("bad parameter: pathcannot be empty");
    });

    test("PUT takes no mount away", async () => {
      const bound = join(folder, "bound");
      writeFileSync(bound, "of the host");
      const id = await ok("run", "-d", "-v", `${bound}:/opt/bound`, "-v", "files:/opt/vol/deep", "busybox", "sleep", "1000");
      const at = { type: "file", body: "x" } as const;
      await inside("echo kept > /opt/vol/deep/kept", id);
      for (const state of ["running", "at rest"]) {
        expect(await put("/opt", [{ ...at, name: "bound" }], id)).toMatchObject({ status: 409 });
        expect(await put("/opt", [{ ...at, name: "vol" }], id)).toMatchObject({ status: 409 });
        expect(await put("/etc", [{ ...at, name: "hosts" }], id)).toMatchObject({ status: 409 });
        if (state === "running") {
          expect(await inside("cat /opt/bound; grep -c localhost /etc/hosts", id)).toMatch(/^of the host[1-9]/);
          await ok("stop", "-t", "0", id);
        }
      }
      await ok("rm", id);
      expect(readFileSync(bound, "utf8")).toBe("of the host");
      expect(readFileSync(join(engine.root, "data/volumes/files/_data/kept"), "utf8")).toBe("kept\n");
    });

    test("damaged archives are the sender's mistake", async () => {
      const send = async (body: Uint8Array): Promise<number> =>
        (await fetch(`http://engine${archive("/tmp")}`, { unix: engine.socket, method: "PUT", body } as RequestInit)).status;
      const good = new Uint8Array(tarOf([{ name: "g", type: "file", body: "x".repeat(3000) }]));
      expect(await send(new Uint8Array(Buffer.from("not an archive at all, though long enough".repeat(30))))).toBe(400);
      expect(await send(good.subarray(0, 900))).toBe(400);
      expect(await send(Bun.gzipSync(good).subarray(0, 30))).toBe(400);
      expect(await send(Bun.gzipSync(good))).toBe(200);
      expect(await send(new Uint8Array())).toBe(200);
    });

    test("a container that swaps links under a copy leads nowhere", async () => {
      const secret = join(folder, "secret");
      mkdirSync(secret);
      writeFileSync(join(secret, "f"), "of the host");
      chmodSync(join(secret, "f"), 0o600);
      await inside("rm -rf /s; mkdir -p /s/a; head -c 300000 /dev/zero > /s/a/f");
      const swap = `cd /s; while :; do mv a b; ln -s ${secret} a; rm a; ln -s / a; rm a; mv b a; cd a; mv f g; ln -s ${secret}/f f; rm f; mv g f; cd ..; done`;
      await ok("exec", "-d", "box", "sh", "-c", swap);
      try {
        for (let i = 0; i < 60; i++) {
          const answer = await engine.api("GET", archive(i % 2 === 0 ? "/s/a/f" : "/s"));
          expect((await answer.text()).includes("of the host")).toBe(false);
          await put("/s/a", [{ name: "f", type: "file", mode: 0o777, body: "from the archive" }]);
          await put("/s", [{ name: "a/f", type: "file", mode: 0o777, body: "from the archive" }]);
        }
      } finally {
        await inside("killall -9 sh").catch(() => {});
      }
      expect(readdirSync(secret)).toEqual(["f"]);
      expect(readFileSync(join(secret, "f"), "utf8")).toBe("of the host");
      expect(lstatSync(join(secret, "f")).mode & 0o777).toBe(0o600);
    });

    test("a reader that leaves ends the work, and a start waits for nobody's old copy", async () => {
      const id = await ok("run", "-d", "busybox", "sh", "-c", "head -c 400m /dev/zero > /big; sleep 100000");
      await until("the big file", async () => (await inside("stat -c %s /big", id)) === String(400 << 20));
      const leave = async (): Promise<void> => {
        const stop = new AbortController();
        const answer = await fetch(`http://engine${archive("/big", id)}`, { unix: engine.socket, signal: stop.signal } as RequestInit);
        const reader = answer.body!.getReader();
        await reader.read();
        stop.abort();
        await reader.cancel().catch(() => {});
      };
      for (let i = 0; i < 5; i++) await leave();
      // One that reads nothing more goes on until the next run needs the root.
      const slow = await fetch(`http://engine${archive("/big", id)}`, { unix: engine.socket } as RequestInit);
      const reader = slow.body!.getReader();
      await reader.read();
      await ok("restart", "-t", "0", id);
      await reader.cancel().catch(() => {});
      await ok("kill", id);
      await ok("wait", id);
      for (let i = 0; i < 3; i++) await leave();
      // Nobody reads any more: nothing keeps the root of the container at rest.
      await ok("start", id);
      await ok("rm", "-f", id);
    });

    test("a removal breaks copies off, in both directions", async () => {
      const before = readdirSync(`/proc/${engine.pid}/fd`).length;
      for (const state of ["running", "at rest"]) {
        const id = await ok(...(state === "running" ? ["run", "-d"] : ["create"]), "busybox", "sleep", "1000");
        expect(await put("/tmp", [{ name: "bulk", type: "file", body: "x".repeat(32 << 20) }], id)).toMatchObject({ status: 200 });
        const out = (await engine.api("GET", archive("/tmp", id))).body!.getReader();
        await out.read();
        const half = new ReadableStream({ start: (controller) => controller.enqueue(tarOf([{ name: "f", type: "file", body: "x" }]).subarray(0, 1000)) });
        const into = fetch(`http://engine${archive("/tmp", id)}`, { unix: engine.socket, method: "PUT", body: half, duplex: "half" } as RequestInit);
        await Bun.sleep(100);
        await ok("rm", "-f", id);
        const answer = await into;
        expect({ state, status: answer.status }).toEqual({ state, status: 409 });
        expect(await answer.text()).toContain("is removed: the work on its files was broken off");
        await out.cancel().catch(() => {});
      }
      await until("all descriptors are closed", async () => readdirSync(`/proc/${engine.pid}/fd`).length <= before + 8);
    });

    test("a copy that an engine's death cut short leaves no mount", async () => {
      const id = await ok("create", "-v", "files:/vol", "busybox", "true");
      await ok("cp", "/bin/busybox", `${id}:/vol/bulk`);
      const bulk = Buffer.alloc(64 << 20);
      await put("/vol", [{ name: "bulk", type: "file", body: bulk.toString("latin1") }], id);
      const slow = await fetch(`http://engine${archive("/vol/bulk", id)}`, { unix: engine.socket } as RequestInit);
      const reader = slow.body!.getReader();
      await reader.read();
      // Its volume is read, and is to be seen nowhere: whoever removes the data root removes nothing of anybody else.
      const mounted = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
      expect(mounted.filter((line) => line.includes(join(engine.root, "data/tmp"))).length).toBe(1);
      await engine.kill9();
      await reader.cancel().catch(() => {});
      await engine.start();
      // It answers before it has taken away what the one before left.
      await until("what was left is gone", async () => readdirSync(join(engine.root, "data/tmp")).length === 0);
      expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(join(engine.root, "data/tmp"));
      expect(readdirSync(join(engine.root, "data/tmp"))).toEqual([]);
      await ok("rm", id);
    });
  });

  test("sizes are told, also of a container whose image was removed by force", async () => {
    await ok("commit", "box", "short-lived");
    const id = await ok("create", "--name", "sized", "short-lived", "true");
    expect(await put("/tmp", [{ name: "f", type: "file", body: "12345" }], id)).toMatchObject({ status: 200 });
    const { Size: image } = (await (await engine.api("GET", "/images/short-lived/json")).json()) as { Size: number };
    await ok("rmi", "-f", "short-lived");
    const whole = (await (await engine.api("GET", `/containers/${id}/json?size=1`)).json()) as Record<string, number>;
    expect(whole).toMatchObject({ SizeRw: 5 });
    expect(whole["SizeRootFs"]).toBe(image + 5);
    const list = async (): Promise<Record<string, unknown>[]> => (await (await engine.api("GET", "/containers/json?all=1&size=1")).json()) as never;
    expect((await list()).find(({ Id }) => Id === id)).toMatchObject({ SizeRw: 5, SizeRootFs: image + 5 });
    expect((await list()).find(({ Names }) => (Names as string[])[0] === "/box")).toHaveProperty("SizeRootFs");
    // All at once, while one of them goes.
    const [lists] = await Promise.all([Promise.all([list(), list(), list()]), ok("rm", id)]);
    expect(lists.every((each) => each.length > 0)).toBe(true);
  });

  test("thousands of changes are told, each once and in order", async () => {
    const id = await ok("run", "-d", "busybox", "sh", "-c", "mkdir /many; cd /many; seq 4500 | xargs touch; sleep 1000");
    const changes = async (): Promise<{ Path: string; Kind: number }[]> => (await (await engine.api("GET", `/containers/${id}/changes`)).json()) as never;
    await until("all are there", async () => (await changes())?.length === 4501);
    const paths = (await changes()).map(({ Path }) => Path);
    expect(paths).toEqual(["/many", ...Array.from({ length: 4500 }, (_, i) => `/many/${i + 1}`)].sort());
    await ok("rm", "-f", id);
  });

  test("a container that makes and removes directories meanwhile is exported, copied, compared and committed", async () => {
    const churn = "mkdir /w; cd /w; while :; do for i in $(seq 200); do mkdir -p d$i/e/f; echo x > d$i/e/f/g; done; rm -rf d*; done";
    await ok("run", "-d", "--name", "churn", "--stop-signal", "KILL", "busybox", "sh", "-c", churn);
    for (let i = 0; i < 15; i++) {
      for (const path of ["/containers/churn/export", archive("/w", "churn")]) {
        const answer = await engine.api("GET", path);
        expect((await namesIn(answer)).some((name) => name.startsWith("w/"))).toBe(true);
      }
      expect(await (await engine.api("GET", "/containers/churn/changes")).json()).toContainEqual({ Path: "/w", Kind: 1 });
      await ok("commit", "--pause=false", "churn", "churned");
    }
    await ok("rm", "-f", "churn");
    await ok("rmi", "-f", "churned");
  });

  test("events tell of both directions", async () => {
    const since = String(Math.floor(Date.now() / 1000));
    await ok("cp", local("file"), "box:/tmp/e");
    await ok("cp", "box:/tmp/e", local("e"));
    const events = await ok(
      "events",
      "--since",
      since,
      "--until",
      String(Math.floor(Date.now() / 1000) + 1),
      "--filter",
      "container=box",
      "--format",
      "{{.Action}}",
    );
    expect(events.split("\n")).toEqual(expect.arrayContaining(["extract-to-dir", "archive-path"]));
  });

  test("nothing is left behind", async () => {
    await ok("rm", "-f", "box");
    const left = (): string[] => leaks(before, kernelState(engine.root)).filter((line) => line.startsWith("mount "));
    for (let i = 0; i < 100 && left().length > 0; i++) await Bun.sleep(50);
    expect(left()).toEqual([]);
    // Nor does the engine hold anybody's root open.
    const open = readdirSync(`/proc/${engine.pid}/fd`).map((fd) =>
      existsSync(`/proc/${engine.pid}/fd/${fd}`) ? readlinkSync(`/proc/${engine.pid}/fd/${fd}`) : "",
    );
    expect(open.filter((path) => path === "/" || path.includes("/view-"))).toEqual([]);
    expect(readdirSync(join(engine.root, "data/tmp"))).toEqual([]);
  });
});
