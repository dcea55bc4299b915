import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { kindOf, messageOf } from "../../src/lib/errors.ts";
import { tarOf } from "../../src/lib/tar-writer.ts";
import { digestOf, type Digest } from "../../src/oci/digest.ts";
import { mediaTypes } from "../../src/oci/image.ts";
import { skipped } from "../skips.ts";
import { Engine, until } from "./harness.ts";
import { createLab, type Lab } from "./images-lab.ts";

const random = (size: number): Uint8Array => {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 65536) crypto.getRandomValues(bytes.subarray(at, Math.min(at + 65536, size)));
  return bytes;
};

interface Range {
  start: number;
  end: number;
}

/** One image x:1 with one layer, in a registry that may break off, wait, or know no ranges. */
class Registry implements Disposable {
  readonly body: Uint8Array;
  readonly layer: Uint8Array;
  readonly digest: Digest;
  readonly ranges: Range[] = [];
  /** Most requests for the layer at once. */
  most = 0;
  knowsRanges = true;
  /** Bytes of the layer that are sent before it waits, for `go`. */
  stopAt = Infinity;
  #sent = 0;
  #now = 0;
  readonly #manifest: string;
  readonly #config: string;
  readonly #server: ReturnType<typeof Bun.serve>;
  readonly #reached = Promise.withResolvers<void>();
  #go = Promise.withResolvers<void>();

  constructor(size: number) {
    this.body = random(size);
    this.layer = tarOf([{ name: "noise", type: "file", body: this.body }]);
    this.digest = digestOf(this.layer);
    this.#config = JSON.stringify({ os: "linux", architecture: "amd64", config: {}, rootfs: { type: "layers", diff_ids: [this.digest] } });
    this.#manifest = JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: { mediaType: mediaTypes.ociConfig, digest: digestOf(this.#config), size: this.#config.length },
      layers: [{ mediaType: mediaTypes.ociLayer, digest: this.digest, size: this.layer.length }],
    });
    this.#server = Bun.serve({ hostname: "127.0.0.1", port: 0, idleTimeout: 0, fetch: (request) => this.#answer(request) });
  }

  get reference(): string {
    return `127.0.0.1:${this.#server.port}/x:1`;
  }

  /** Resolves once it has sent all that it sends for now. */
  get reached(): Promise<void> {
    return this.#reached.promise;
  }

  go(): void {
    this.stopAt = Infinity;
    this.#go.resolve();
  }

  #answer(request: Request): Response {
    const { pathname } = new URL(request.url);
    if (pathname.includes("/manifests/")) return new Response(this.#manifest, { headers: { "content-type": mediaTypes.ociManifest } });
    if (pathname.endsWith(digestOf(this.#config))) return new Response(this.#config);
    if (!pathname.endsWith(this.digest)) return new Response("{}");
    const asked = this.knowsRanges ? /^bytes=(\d+)-(\d*)$/.exec(request.headers.get("range") ?? "") : null;
    const start = Number(asked?.[1] ?? 0);
    const end = asked?.[2] === undefined || asked[2] === "" ? this.layer.length : Number(asked[2]) + 1;
    this.ranges.push({ start, end });
    const headers = { "content-length": String(end - start), "content-range": `bytes ${start}-${end - 1}/${this.layer.length}` };
    return new Response(this.#bytes(start, end), asked === null ? { headers: { "content-length": String(end - start) } } : { status: 206, headers });
  }

  #bytes(start: number, end: number): ReadableStream<Uint8Array> {
    let at = start;
    this.most = Math.max(this.most, ++this.#now);
    return new ReadableStream({
      pull: async (stream) => {
        if (this.#sent >= this.stopAt) {
          this.#reached.resolve();
          await this.#go.promise;
        }
        const chunk = this.layer.subarray(at, Math.min(at + 65536, end));
        at += chunk.length;
        this.#sent += chunk.length;
        stream.enqueue(chunk);
        if (at < end) return;
        this.#now--;
        stream.close();
      },
      cancel: () => void this.#now--,
    });
  }

  [Symbol.dispose](): void {
    this.#go.resolve();
    void this.#server.stop(true);
  }
}

const failure = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => "none",
    (error: unknown) => `${kindOf(error)}: ${messageOf(error)}`,
  );

describe.skipIf(skipped("root"))("a pull that was interrupted", () => {
  let lab: Lab;
  beforeEach(() => {
    lab = createLab();
  });
  afterEach(() => lab[Symbol.dispose]());

  const isRight = async (registry: Registry): Promise<void> => {
    const image = await lab.pull(registry.reference);
    expect(readFileSync(join(lab.snapshots.path(image.layers[0]!), "noise")).equals(registry.body)).toBe(true);
    expect(digestOf(await lab.content.bytes(registry.digest, 1 << 30))).toBe(registry.digest);
    expect(lab.rest().ingests).toBe(0);
  };

  const ingest = (): string => join(lab.root, "content", "ingest");
  const partial = (): string =>
    join(
      ingest(),
      readdirSync(ingest()).find((name) => !name.endsWith(".json"))!,
    );

  /** Pulls until some of `after` bytes have come, and breaks off. Answers how many are kept. */
  const interrupt = async (registry: Registry, after: number): Promise<number> => {
    const controller = new AbortController();
    registry.stopAt = after;
    const pulling = failure(lab.pull(registry.reference, { signal: controller.signal }));
    await registry.reached;
    await until("some of it to arrive", () => lab.messages.some(({ status }) => status === "Downloading"));
    controller.abort();
    expect(await pulling).toMatch(/^cancelled/);
    expect([lab.rest().blobs, lab.rest().snapshots]).toEqual([0, 0]);
    registry.go();
    registry.ranges.length = 0;
    const kept = JSON.parse(readFileSync(`${partial()}.json`, "utf8")) as [number, number][];
    return kept.reduce((sum, [start, end]) => sum + end - start, 0);
  };

  test("goes on from where it was", async () => {
    using registry = new Registry(4 << 20);
    const kept = await interrupt(registry, 3 << 20);
    await isRight(registry);
    expect(kept).toBeGreaterThan(0);
    expect(registry.ranges).toEqual([{ start: kept, end: registry.layer.length }]);
  });

  test("goes on with a registry that knows no ranges, too", async () => {
    using registry = new Registry(4 << 20);
    registry.knowsRanges = false;
    await interrupt(registry, 3 << 20);
    await isRight(registry);
  });

  test("begins anew where the bytes that are there turn out to be wrong", async () => {
    using registry = new Registry(4 << 20);
    await interrupt(registry, 3 << 20);
    writeFileSync(partial(), Buffer.alloc(1000), { flag: "r+" });
    await isRight(registry);
    expect(registry.ranges.map(({ start }) => start > 0)).toEqual([true, false]);
  });

  test("asks again for what its file has lost", async () => {
    using registry = new Registry(4 << 20);
    await interrupt(registry, 3 << 20);
    const ingest = join(lab.root, "content", "ingest");
    truncateSync(
      join(
        ingest,
        readdirSync(ingest).find((each) => !each.endsWith(".json"))!,
      ),
      1000,
    );
    await isRight(registry);
    expect(registry.ranges[0]!.start).toBe(1000);
  });

  test("a large layer comes over several connections, in pieces, and what is there of them is kept", async () => {
    using registry = new Registry(40 << 20);
    const kept = await interrupt(registry, 20 << 20);
    expect(registry.most).toBeGreaterThan(1);
    await isRight(registry);
    const asked = registry.ranges.reduce((sum, { start, end }) => sum + end - start, 0);
    expect(asked + kept).toBe(registry.layer.length);
  });

  test("a large layer from a registry that knows no ranges", async () => {
    using registry = new Registry(40 << 20);
    registry.knowsRanges = false;
    await isRight(registry);
  });

  test("a layer is unpacked while it arrives", async () => {
    using registry = new Registry(4 << 20);
    registry.stopAt = 3 << 20;
    const pulling = lab.pull(registry.reference);
    await registry.reached;
    const unpacked = (): boolean =>
      readdirSync(lab.snapshots.root).some((id) => !id.startsWith(".") && readdirSync(join(lab.snapshots.root, id)).includes("noise"));
    await until("the layer's file", unpacked);
    expect(await lab.images.list({ all: true })).toEqual([]);
    registry.go();
    await pulling;
  });
});

/** In front of the registry on port 5000: sends blobs slowly, and tells of each the first byte that was asked for. */
const slowly = `
Bun.serve({
  hostname: "127.0.0.1",
  port: 5005,
  idleTimeout: 0,
  fetch: async ({ url, method, headers }) => {
    const { pathname, search } = new URL(url);
    const range = headers.get("range");
    const sent = new Headers(range === null ? {} : { range });
    if (headers.has("accept")) sent.set("accept", headers.get("accept"));
    const answer = await fetch("http://127.0.0.1:5000" + pathname + search, { method, headers: sent, decompress: false });
    const { body, status } = answer;
    if (method !== "GET" || Number(answer.headers.get("content-length")) < 1e6) return new Response(method === "HEAD" ? null : body, { status, headers: answer.headers });
    console.log(/\\d+/.exec(range ?? "0")[0]);
    const slow = async function* () {
      for await (const chunk of body) {
        for (let at = 0; at < chunk.length; at += 65536) {
          yield chunk.subarray(at, at + 65536);
          await Bun.sleep(20);
        }
      }
    };
    return new Response(slow(), { status, headers: answer.headers });
  },
});`;

describe.skipIf(skipped("root"))("a pull during which the engine is killed", () => {
  test("goes on with the next engine", async () => {
    await using engine = await Engine.start();
    await using _registry = await engine.registry();
    const front = Bun.spawn([...engine.onHost, process.execPath, "-e", slowly], { stdio: ["ignore", "pipe", "inherit"] });
    try {
      const tar = join(engine.root, "noise.tar");
      writeFileSync(tar, tarOf([{ name: "noise", type: "file", body: random(8 << 20) }]));
      const id = await engine.ok("import", tar, "127.0.0.1:5000/noise");
      await engine.ok("push", "127.0.0.1:5000/noise");
      await engine.ok("rmi", "127.0.0.1:5000/noise");
      const ingest = join(engine.data, "content", "ingest");
      const first = engine.docker(["pull", "127.0.0.1:5005/noise"]);
      await until("a note of what has come", () => readdirSync(ingest).some((name) => name.endsWith(".json")));
      await engine.kill9();
      expect((await first).code).not.toBe(0);
      await engine.start();
      expect(await engine.ok("pull", "-q", "127.0.0.1:5005/noise")).toBe("127.0.0.1:5005/noise:latest");
      expect(await engine.ok("inspect", "-f", "{{.Id}}", "127.0.0.1:5005/noise")).toBe(id);
      expect(readdirSync(ingest)).toEqual([]);
    } finally {
      front.kill();
      await front.exited;
    }
    const begun = (await new Response(front.stdout).text()).trim().split("\n").map(Number);
    expect(begun).toHaveLength(2);
    expect(begun[1]).toBeGreaterThan(0);
  }, 60_000);
});
