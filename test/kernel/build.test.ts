import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { createBuilder } from "../../src/build/builder.ts";
import type { Builder, BuildOptions } from "../../src/build/types.ts";
import type { ImageRecord, ProgressMessage } from "../../src/images/types.ts";
import { silent } from "../../src/lib/log.ts";
import { tarOf } from "../../src/lib/tar-writer.ts";
import { kernelState, leaks } from "../leaks.ts";
import { until } from "../e2e/harness.ts";
import { outcome } from "../outcome.ts";
import { skipped } from "../skips.ts";
import { createEngine, type TestEngine, plainBuild } from "./containers-fixture.ts";
import { streamOf, whatIs } from "./storage-fixture.ts";

type Entry = Parameters<typeof tarOf>[0][number];

interface Result {
  id?: string;
  messages: ProgressMessage[];
  /** Everything told, in one text. */
  text: string;
  error?: Error & { exitCode?: number; kind?: string };
}

describe.skipIf(skipped("root", "overlay"))("builder", () => {
  let engine: TestEngine;
  let builder: Builder;
  let before: Set<string>;

  beforeAll(async () => {
    before = kernelState();
    engine = await createEngine();
    builder = builderOf(engine);
  });
  afterAll(async () => {
    const { root } = engine;
    await engine.close();
    process.chdir(tmpdir()); // snapshots change into a folder that is gone now
    expect(leaks(before, kernelState()).filter((line) => line.includes(root))).toEqual([]);
  });

  const builderOf = ({ store, images, snapshots, sandboxes, events, paths }: TestEngine): Builder =>
    createBuilder({ store, images, snapshots, sandboxes, events, paths, log: silent });

  async function build(dockerfile: string, files: readonly Entry[] = [], more: Partial<BuildOptions> = {}): Promise<Result> {
    const messages: ProgressMessage[] = [];
    const options: BuildOptions = {
      context: streamOf(tarOf([{ name: "Dockerfile", type: "file", body: dockerfile }, ...files])),
      ...plainBuild(),
      onProgress: (message) => void messages.push(message),
      ...more,
    };
    const ended = await builder.build(options).then(
      (id) => ({ id }),
      (error: Error) => ({ error }),
    );
    return { ...ended, messages, text: messages.map((message) => message.stream ?? "").join("") };
  }

  async function built(dockerfile: string, files: readonly Entry[] = [], more: Partial<BuildOptions> = {}): Promise<Result & { image: ImageRecord }> {
    const result = await build(dockerfile, files, more);
    if (result.error !== undefined) throw result.error;
    return { ...result, image: engine.images.resolve(result.id as string) };
  }

  /** What is in an image's file system. */
  async function contents(image: ImageRecord): Promise<Record<string, string>> {
    const target = mkdtempSync(`${engine.root}/look-`);
    await engine.snapshots.mount({ target, layers: image.layers });
    try {
      return whatIs(target);
    } finally {
      Bun.spawnSync(["umount", target]);
      rmSync(target, { recursive: true });
    }
  }

  const file = (name: string, body: string, more: Partial<Entry> = {}): Entry => ({ name, type: "file", body, mode: 0o644, ...more });
  const masked = (text: string): string => text.replace(/\b[0-9a-f]{12}\b/g, "ID");
  const snapshotsNow = (): unknown => engine.store.db.query("SELECT id, kind FROM snapshots WHERE state <> 'deleting' AND kind <> 'init' ORDER BY id").all();

  async function expectNothingLeft(snapshots: unknown): Promise<void> {
    await engine.snapshots.settled();
    expect(snapshotsNow()).toEqual(snapshots);
    expect(engine.store.db.query("SELECT * FROM build_snapshots").all()).toEqual([]);
    expect(readdirSync(engine.paths.tmp)).toEqual([]);
    expect(readdirSync(engine.paths.bundles)).toEqual([]);
  }

  test("says what it does in dockerd's words, message by message", async () => {
    const dockerfile = 'FROM base\nCOPY a /x/\nENV v=1\nRUN echo out; echo err >&2\nWORKDIR /w\nCMD ["sh"]\n';
    const { messages, text, id, image } = await built(dockerfile, [file("a", "hello")], { tags: ["one", "localhost:5000/two:3", "one:latest"] });
    expect(messages.slice(0, 2)).toEqual([{ stream: "Step 1/6 : FROM base" }, { stream: "\n" }]);
    expect(messages).toContainEqual({ aux: { ID: id } });
    expect(messages).toContainEqual({ stream: "out\n" });
    expect(messages).toContainEqual({ stream: "\u001b[91merr\n\u001b[0m" });
    const lines = masked(text).replace("out\n", "").replace("\u001b[91merr\n\u001b[0m", "").split("\n");
    expect(lines).toEqual([
      "Step 1/6 : FROM base",
      " ---> ID",
      "Step 2/6 : COPY a /x/",
      " ---> ID",
      "Step 3/6 : ENV v=1",
      " ---> Running in ID",
      " ---> Removed intermediate container ID",
      " ---> ID",
      "Step 4/6 : RUN echo out; echo err >&2",
      " ---> Running in ID",
      " ---> Removed intermediate container ID",
      " ---> ID",
      "Step 5/6 : WORKDIR /w",
      " ---> Running in ID",
      " ---> Removed intermediate container ID",
      " ---> ID",
      'Step 6/6 : CMD ["sh"]',
      " ---> Running in ID",
      " ---> Removed intermediate container ID",
      " ---> ID",
      "Successfully built ID",
      "Successfully tagged one:latest",
      "Successfully tagged localhost:5000/two:3",
      "",
    ]);
    expect(image.repoTags.sort()).toEqual(["localhost:5000/two:3", "one:latest"]);
    expect(image.config.config).toMatchObject({ Cmd: ["sh"], WorkingDir: "/w", Env: ["PATH=/bin", "FROM=image", "v=1"] });
    expect(await contents(image)).toMatchObject({ "x/a": 'file 644 0:0 "hello"', w: "dir 755 0:0" });
    const history = image.config.history ?? [];
    expect(history.map((entry) => entry.created_by?.replace(/file:[0-9a-f]{64}/, "file:HASH"))).toEqual([
      "/bin/sh -c #(nop) COPY file:HASH in /x/ ",
      "/bin/sh -c #(nop)  ENV v=1",
      "/bin/sh -c echo out; echo err >&2",
      "/bin/sh -c #(nop) WORKDIR /w",
      '/bin/sh -c #(nop)  CMD ["sh"]',
    ]);
    expect(history.map((entry) => entry.empty_layer === true)).toEqual([false, true, true, false, true]);
    expect(image.config.rootfs.diff_ids.length).toBe(3);
    await expectNothingLeft(snapshotsNow());
  });

  test("from scratch, with nothing but a static program", async () => {
    const body = new Uint8Array(readFileSync("/bin/busybox"));
    const { image, text } = await built('FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "touch", "/made"]\n', [
      { name: "busybox", type: "file", mode: 0o755, body },
    ]);
    expect(text).toStartWith("Step 1/3 : FROM scratch\n ---> \nStep 2/3 : ");
    expect(Object.keys(await contents(image)).sort()).toEqual(["bin", "bin/busybox", "made"]);
    expect(image.config.config?.Env).toEqual(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
    expect((await engine.images.list({})).some(({ id }) => id === image.parent)).toBe(false);
    expect((await engine.images.list({ all: true })).some(({ id }) => id === image.parent)).toBe(true);
  });

  test("a second build comes from the cache; what changed and all after it doesn't", async () => {
    const dockerfile = "FROM base\nARG v=1\nCOPY a b /x/\nRUN echo $v > /v\nLABEL z=1\n";
    const files = [file("a", "a"), file("b", "b")];
    const first = await built(dockerfile, files);
    const second = await built(
      dockerfile,
      files.map((entry) => ({ ...entry, mtime: { seconds: 99, nanoseconds: 0 } })),
    );
    expect(second.id).toBe(first.id);
    expect(second.text.match(/ ---> Using cache\n/g)?.length).toBe(4);
    const changed = await built(dockerfile, [file("a", "a"), file("b", "other")]);
    expect(changed.text.match(/ ---> Using cache\n/g)?.length).toBe(1);
    const argument = await built(dockerfile, files, { buildArgs: { v: "2" } });
    expect(argument.text.match(/ ---> Using cache\n/g)?.length).toBe(2);
    expect((await contents(argument.image))["v"]).toContain('"2\\n"');
    const none = await built(dockerfile, files, { noCache: true });
    expect(none.text).not.toContain("Using cache");
    expect((await built(dockerfile, files, { cacheFrom: ["nope:1"] })).text).not.toContain("Using cache");
    expect((await built(dockerfile, files, { cacheFrom: [none.id as string] })).id).toBe(none.id);
  });

  test("a step that changes nothing adds no layer, as dockerd's", async () => {
    const { image } = await built("FROM base\nRUN true\nWORKDIR /bin\nRUN touch /made\n");
    const base = engine.images.resolve("base");
    expect(image.layers).toHaveLength(base.layers.length + 1);
    expect(image.config.history?.slice(-3).map((step) => step.empty_layer)).toEqual([true, true, undefined]);
    expect(engine.store.db.query("SELECT * FROM build_snapshots").all()).toEqual([]);
  });

  test("an image from elsewhere is a cache by its history", async () => {
    const dockerfile = 'FROM base\nENV v=1\nCOPY a /a\nRUN echo here > /b\nCMD ["x"]\n';
    const { id } = await built(dockerfile, [file("a", "a")], { tags: ["remote"] });
    const saved = await new Response(await engine.images.save(["remote"])).bytes();
    for (const image of await engine.images.list({ all: true })) if (image.repoTags.includes("remote:latest")) await engine.images.remove("remote");
    expect(() => engine.images.resolve(id as string)).toThrow("No such image");
    await engine.images.load(streamOf(saved), { onProgress: () => {} });
    expect(engine.images.resolve("remote").parent).toBeUndefined();
    const again = await built(dockerfile, [file("a", "a")], { cacheFrom: ["remote"] });
    expect(again.text.match(/ ---> Using cache\n/g)?.length).toBe(4);
    expect(again.id).toBe(id);
    const changed = await built(dockerfile.replace("here", "there"), [file("a", "a")], { cacheFrom: ["remote"] });
    expect(changed.text.match(/ ---> Using cache\n/g)?.length).toBe(2);
    expect(await contents(changed.image)).toMatchObject({ a: 'file 644 0:0 "a"', b: 'file 644 0:0 "there\\n"' });
  });

  test("stages: copies keep owners, names and targets, images as sources", async () => {
    const dockerfile = [
      "FROM base AS builder",
      "RUN mkdir /out && echo 1 > /out/a && chown 7:8 /out/a && echo 2 > /out/b",
      "FROM scratch AS mid",
      "COPY --from=builder /out /kept",
      "COPY --from=0 --chown=5 /out/a /owned",
      "FROM base",
      "COPY --from=mid /kept/a /named/",
      "COPY --from=base /data/file /from-image",
      "COPY --chown=anna:root --chmod=600 f /f",
    ].join("\n");
    const { image } = await built(dockerfile, [file("f", "f")]);
    expect(await contents(image)).toMatchObject({
      "named/a": 'file 644 7:8 "1\\n"',
      "from-image": 'file 640 1000:1001 "from the image\\n"',
      f: 'file 600 1000:0 "f"',
    });
    const mid = await built(dockerfile, [file("f", "f")], { target: "mid" });
    expect(await contents(mid.image)).toMatchObject({ "kept/a": 'file 644 7:8 "1\\n"', "kept/b": 'file 644 0:0 "2\\n"', owned: 'file 644 5:5 "1\\n"' });
    expect(mid.text).toContain("Step 1/5 : ");
  });

  test("arguments, environment, user and working directory reach RUN; proxies too", async () => {
    const { text } = await built(
      'ARG tag=base\nFROM $tag\nARG a=1\nARG b\nENV a=9\nUSER anna\nWORKDIR /home/anna\nRUN echo "$a-$b-$HTTP_PROXY-$(id -u)-$(pwd)-$FROM"\n',
      [],
      { buildArgs: { b: "2", HTTP_PROXY: "p", unused: "x" } },
    );
    expect(text).toContain("9-2-p-1000-/home/anna-image\n");
    expect(text).toContain("[Warning] One or more build-args [unused] were not consumed\n");
    expect(text).toStartWith("Step 1/8 : ARG tag=base\nStep 2/8 : FROM $tag\n");
  });

  test("ONBUILD runs in the image built on it", async () => {
    await built("FROM base\nONBUILD COPY a /a\nONBUILD RUN cat /a > /b\n", [], { tags: ["trigger"] });
    const { text, image } = await built("FROM trigger\nENV x=1\n", [file("a", "now")]);
    expect(masked(text)).toStartWith("Step 1/2 : FROM trigger\n# Executing 2 build triggers\n ---> Running in ID\n");
    expect(await contents(image)).toMatchObject({ b: 'file 644 0:0 "now"' });
    expect(image.config.config?.OnBuild ?? []).toEqual([]);
  });

  test("here-documents", async () => {
    const { image } = await built(
      'FROM base\nENV n=7\nRUN <<EOF\necho one > /one\necho two > /two\nEOF\nRUN <<X\n#!/bin/busybox sh\necho "$0" > /three\nX\nCOPY <<"A" <<B /d/\n$n\nA\n$n\nB\n',
    );
    expect(await contents(image)).toMatchObject({
      one: 'file 644 0:0 "one\\n"',
      two: 'file 644 0:0 "two\\n"',
      three: 'file 644 0:0 "/dev/pipes/X\\n"',
      "d/A": 'file 644 0:0 "$n\\n"',
      "d/B": 'file 644 0:0 "7\\n"',
    });
  });

  test("ADD unpacks an archive, and fetches a file with its checksum", async () => {
    const body = "fetched";
    using server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: (request) => (request.url.endsWith("/f") ? new Response(body) : new Response("", { status: 404 })),
    });
    const url = `http://127.0.0.1:${server.port}`;
    const tar = tarOf([{ name: "in/side", type: "file", body: "x", uid: 3, gid: 4 }]);
    const digest = new Bun.CryptoHasher("sha256").update(body).digest("hex");
    const { image } = await built(`FROM scratch\nADD t.tgz /t/\nADD --checksum=sha256:${digest} ${url}/f /u/\nADD ${url}/f /name\n`, [
      { name: "t.tgz", type: "file", body: Bun.gzipSync(new Uint8Array(tar)) },
    ]);
    expect(await contents(image)).toMatchObject({ "t/in/side": 'file 644 3:4 "x"', "u/f": 'file 600 0:0 "fetched"', name: 'file 600 0:0 "fetched"' });
    const wrong = await build(`FROM scratch\nADD --checksum=sha256:${"0".repeat(64)} ${url}/f /u/\n`);
    expect(wrong.error?.message).toContain("digest mismatch sha256:");
    expect((await build(`FROM scratch\nADD ${url}/nope /u/\n`)).error?.message).toContain("with status 404");
    expect((await build(`FROM scratch\nCOPY ${url}/f /u/\n`)).error?.message).toBe("COPY failed: source can't be a URL for COPY");
  });

  test("a RUN that fails says so, with its code, and leaves nothing", async () => {
    const snapshots = snapshotsNow();
    const { error, text } = await build("FROM base\nRUN echo before; exit 3\nRUN echo never\n");
    expect(error).toMatchObject({ message: "The command '/bin/sh -c echo before; exit 3' returned a non-zero code: 3", exitCode: 3 });
    expect(text).toContain("before\n");
    expect(text).not.toContain("never");
    expect(text).not.toContain("Removed intermediate");
    expect((await build("FROM base\nRUN false\n", [], { forceRm: true })).text).toContain("Removed intermediate container");
    await expectNothingLeft(snapshots);
  });

  test("a program that isn't there", async () => {
    const snapshots = snapshotsNow();
    const { error } = await build('FROM scratch\nRUN ["/nope"]\n');
    expect(error).toMatchObject({ exitCode: 127 });
    await expectNothingLeft(snapshots);
  });

  test("limits reach RUN", async () => {
    const { text } = await built("FROM base\nRUN ulimit -n; cat /proc/self/limits | grep 'open files'\n", [], {
      memory: 64 << 20,
      ulimits: [{ Name: "nofile", Soft: 321, Hard: 654 }],
    });
    expect(text).toMatch(/321 +654/);
  });

  test("a cancelled build stops its RUN and leaves nothing", async () => {
    const snapshots = snapshotsNow();
    const stop = new AbortController();
    const { error } = await build("FROM base\nRUN echo started; sleep 1000\n", [], {
      signal: stop.signal,
      onProgress: ({ stream }) => void (stream === "started\n" && stop.abort()),
    });
    expect(error).toMatchObject({ kind: "cancelled" });
    await expectNothingLeft(snapshots);
  });

  test("a client that reads slowly slows RUN down, and loses nothing", async () => {
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    let told = 0;
    let whenHeld: number | undefined;
    const onProgress = ({ stream = "" }: ProgressMessage): Promise<void> | void => {
      const zeros = stream.match(/\0/g)?.length ?? 0;
      told += zeros;
      if (zeros === 0) return;
      setTimeout(() => {
        whenHeld ??= told;
        release();
      }, 300);
      return released;
    };
    const { error } = await build("FROM base\nRUN dd if=/dev/zero bs=1024 count=20000 2>/dev/null\n", [], { onProgress });
    expect(error).toBeUndefined();
    expect(whenHeld).toBeLessThan(2 << 20);
    expect(told).toBe(20000 * 1024);
  });

  test("quiet says the id alone; with a mistake it says everything", async () => {
    const good = await built("FROM base\nRUN echo hi\n", [], { quiet: true });
    expect(good.messages).toEqual([{ stream: `${good.id}\n` }]);
    const bad = await build("FROM base\nRUN echo hi; false\n", [], { quiet: true });
    expect(bad.text).toContain("hi\n");
  });

  const mistakes: [string, string, readonly Entry[], Partial<BuildOptions>, string][] = [
    ["an unknown instruction", "FROM base\n\nFOO x\n", [], {}, "dockerfile parse error on line 3: unknown instruction: FOO"],
    [
      "a missing source",
      "FROM base\nCOPY nope /\n",
      [],
      {},
      "COPY failed: file not found in build context or excluded by .dockerignore: stat nope: file does not exist",
    ],
    ["a source outside", "FROM base\nCOPY ../x /\n", [], {}, "COPY failed: forbidden path outside the build context: ../x ()"],
    [
      "two sources to a file",
      "FROM base\nCOPY a b /x\n",
      [file("a", ""), file("b", "")],
      {},
      "When using COPY with more than one source file, the destination must be a directory and end with a /",
    ],
    ["an unknown owner", "FROM base\nCOPY --chown=nobody a /x\n", [file("a", "")], {}, "unable to convert uid/gid chown string to host mapping: "],
    ["an empty stage", "FROM scratch\n", [], {}, "No image was generated. Is your Dockerfile empty?"],
    ["an unknown target", "FROM base\n", [], { target: "x" }, 'target stage "x" could not be found'],
    ["a bad tag", "FROM base\n", [], { tags: ["UPPER"] }, "invalid reference format"],
    ["a tag with a digest", "FROM base\n", [], { tags: [`a@sha256:${"0".repeat(64)}`] }, "build tag cannot contain a digest"],
    ["squash", "FROM base\n", [], { squash: true }, "squash is only supported with experimental mode"],
    ["another Dockerfile", "FROM base\n", [], { dockerfile: "other" }, "Cannot locate specified Dockerfile: other"],
    ["a Git repository", "FROM base\n", [], { remote: "https://example.org/x.git" }, "is not supported yet"],
    ["a bad value", "FROM base\nEXPOSE x\n", [], {}, "dockerfile parse error on line 2: invalid containerPort: x"],
    ["an archive that leaves its root", "FROM base\n", [file("../evil", "x")], {}, "is outside of its root"],
    ["a mount", "FROM base\nRUN --mount=type=cache,target=/x true\n", [], {}, "the --mount option requires BuildKit"],
  ];
  for (const [what, dockerfile, files, more, message] of mistakes) {
    test(`mistake: ${what}`, async () => {
      const snapshots = snapshotsNow();
      const { error } = await build(dockerfile, files, more);
      expect(error?.message).toContain(message);
      expect(["invalidArgument", "notImplemented"]).toContain(error?.kind as string);
      await expectNothingLeft(snapshots);
    });
  }

  test("a context's symlinks lead nowhere but into itself, and an image's destinations into the image", async () => {
    const { image } = await built("FROM base\nRUN ln -s /../../../../../../../../../../ /up && ln -s /etc /e\nCOPY d /d\nCOPY x /up/tmp/evil\nCOPY x /e/x\n", [
      { name: "d/l", type: "symlink", linkName: "/etc/shadow" },
      { name: "x", type: "file", body: "x", mode: 0o600 },
    ]);
    expect(await contents(image)).toMatchObject({ "d/l": "link 0:0 -> /etc/shadow", "tmp/evil": 'file 600 0:0 "x"', "etc/x": 'file 600 0:0 "x"' });
    expect(existsSync("/tmp/evil")).toBe(false);
  });

  test("pruning forgets the steps and removes images only they kept", async () => {
    await built("FROM base\nRUN echo pruned > /p\n", [], { tags: ["kept"] });
    await built("FROM base\nRUN dd if=/dev/zero of=/big bs=1024 count=100\n", [], { tags: ["gone"] });
    await engine.images.remove("gone", { noPrune: true }).catch(() => {});
    const { image: nameless } = await built("FROM base\nRUN echo step > /a\nRUN echo nameless > /n\n");
    expect(await outcome(built("FROM base\nRUN echo step of a failure > /f\nRUN false\n"))).toThrow("returned a non-zero code");
    const before = (await engine.images.list({ all: true })).length;
    const { deleted } = await builder.pruneCache({ all: true, filters: {}, reservedSpace: 0, maxUsedSpace: 0, minFreeSpace: 0 });
    expect(deleted.length).toBeGreaterThan(1);
    expect(engine.images.resolve("kept").repoTags).toEqual(["kept:latest"]);
    // a result is its user's, with or without a name; what a failed build left is the cache's
    expect(engine.images.resolve(nameless.id).id).toBe(nameless.id);
    expect((await engine.images.list({ all: true })).length).toBeLessThan(before);
    expect((await built("FROM base\nRUN echo pruned > /p\n")).text).not.toContain("Using cache");
  });

  describe("the cache", () => {
    const everything = { all: true, filters: {}, reservedSpace: 0, maxUsedSpace: 0, minFreeSpace: 0 };
    const step = (name: string): string => `RUN dd if=/dev/zero of=/${name} bs=1024 count=100\n`;
    const bytes = 102_400;

    test("its steps: which are an image's too, which only it keeps, how often they were used", async () => {
      await builder.pruneCache(everything);
      await built(`FROM base\n${step("named")}ENV a=b\n`, [], { tags: ["cached:1"] });
      await built(`FROM base\n${step("named")}${step("lost")}RUN false\n`).catch(() => {});
      const steps = (await builder.cache()).map(({ description, shared, size, usageCount, type }) => [
        description.replace(/^.*of=\/(\w+).*$/, "$1"),
        shared,
        size,
        usageCount,
        type,
      ]);
      expect(steps.sort()).toEqual(
        [
          ["/bin/sh -c #(nop)  ENV a=b", true, 0, 1, "regular"],
          ["lost", false, bytes, 1, "regular"],
          ["named", true, bytes, 2, "regular"],
        ].sort(),
      );
    });

    test("pruned: what only it keeps; within bounds the steps not used for longest; shared ones where all is asked for", async () => {
      await builder.pruneCache(everything);
      for (const name of ["old", "young"]) {
        await built(`FROM base\n${step(name)}${step(`${name}2`)}RUN false\n`).catch(() => {});
        await Bun.sleep(5);
      }
      await built(`FROM base\n${step("kept")}`, [], { tags: ["cached:2"] });
      const held = async (): Promise<string[]> => (await builder.cache()).map(({ description }) => /of=\/(\w+)/.exec(description)![1]!);
      expect(await held()).toEqual(["old", "old2", "young", "young2", "kept"]);
      const options = { ...everything, all: false };
      expect((await builder.pruneCache({ ...options, reservedSpace: 10 * bytes })).deleted).toEqual([]);
      expect((await builder.pruneCache({ ...options, minFreeSpace: 1 })).deleted).toEqual([]);
      expect((await builder.pruneCache({ ...options, usedBefore: 1 })).deleted).toEqual([]);
      const rule = { all: false, unusedFor: 0, filters: {}, reservedSpace: 0, maxUsedSpace: 2 ** 50, minFreeSpace: 1 };
      expect(
        (await builder.collectCache([rule, { ...rule, maxUsedSpace: 1, reservedSpace: 2 ** 50 }, { ...rule, maxUsedSpace: 1, unusedFor: 60_000 }])).deleted,
      ).toEqual([]);
      expect((await builder.pruneCache({ ...options, filters: { description: ["none"] } })).deleted).toEqual([]);
      expect((await builder.pruneCache({ ...options, maxUsedSpace: 3 * bytes })).spaceReclaimed).toBe(bytes);
      expect(await held()).toEqual(["old", "young", "young2", "kept"]);
      expect((await builder.pruneCache({ ...options, maxUsedSpace: 1, reservedSpace: 2 * bytes })).deleted.length).toBe(1);
      expect(await held()).toEqual(["young", "young2", "kept"]);
      expect((await builder.pruneCache(options)).spaceReclaimed).toBe(2 * bytes);
      expect(await held()).toEqual(["kept"]);
      expect((await built(`FROM base\n${step("kept")}`)).text).toContain("Using cache");
      await builder.pruneCache(everything);
      expect(await held()).toEqual([]);
      expect(engine.images.resolve("cached:2").repoTags).toEqual(["cached:2"]);
    });
  });
});

test.skipIf(skipped("root", "overlay"))("a build whose engine is killed leaves nothing once the next one has started", async () => {
  const child = Bun.spawn([process.execPath, `${import.meta.dir}/build-engine.ts`], { stdout: "pipe", stderr: "inherit", cwd: tmpdir() });
  const reader = child.stdout.getReader();
  let said = "";
  while (!said.includes("started")) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`the engine ended: ${said}`);
    said += new TextDecoder().decode(value);
  }
  child.kill("SIGKILL");
  await child.exited;
  const root = said.split("\n")[0] as string;
  const engine = await createEngine({ at: root });
  try {
    const { store, images, snapshots, sandboxes, events, paths } = engine;
    await createBuilder({ store, images, snapshots, sandboxes, events, paths, log: silent }).restore();
    await until("nothing is left", () => readdirSync(paths.tmp).length === 0);
    await until("no build has a snapshot", () => store.db.query("SELECT * FROM build_snapshots").all().length === 0);
    await snapshots.settled();
    expect(readdirSync(paths.bundles)).toEqual([]);
    expect(store.db.query("SELECT kind FROM snapshots WHERE kind = 'active'").all()).toEqual([]);
    const mounts = readFileSync("/proc/self/mountinfo", "utf8");
    expect(mounts).not.toContain(paths.tmp);
    expect(mounts).not.toContain(`${paths.bundles}/`);
  } finally {
    await engine.close();
    process.chdir(tmpdir());
  }
});
