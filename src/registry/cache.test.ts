import { afterEach, beforeEach, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { removeRoot } from "../../test/remove-root.ts";
import { createContentStore } from "../content/content.ts";
import { createRegistryClient } from "../distribution/client.ts";
import { silent } from "../lib/log.ts";
import { digestOf, type Digest } from "../oci/digest.ts";
import { mediaTypes } from "../oci/image.ts";
import { openStore } from "../store/store.ts";
import { createRecords, type Records } from "./records.ts";
import { registryMigrations } from "./schema.ts";
import { createRegistryServer, openToAll, type RegistryServer, type RegistrySettings } from "./server.ts";

interface Registry extends AsyncDisposable {
  host: string;
  root: string;
  server: RegistryServer;
  records: Records;
}

let folder: string;
let upstream: Registry;
/** In front of the upstream: what was asked of it, and a way to make it fail. */
let front: {
  host: string;
  asked: string[];
  answer: ((request: Request) => Response | undefined | Promise<Response | undefined>) | undefined;
  stop(): Promise<void>;
};
let cache: Registry;
let settings: RegistrySettings;

async function start(name: string): Promise<Registry> {
  const root = join(folder, name);
  const store = openStore(`${root}.db`, registryMigrations);
  const content = createContentStore({ root, store, log: silent });
  const records = createRecords(store, content);
  const client = createRegistryClient({ insecure: [], mirrors: [], log: silent, retryDelay: 1, downloadRetries: () => 1 });
  const server = createRegistryServer({ client, content, records, log: silent });
  const { host, port } = await server.listen({ port: 0 });
  const dispose = async (): Promise<void> => {
    await server.close();
    store[Symbol.dispose]();
  };
  return { host: `${host}:${port}`, root, server, records, [Symbol.asyncDispose]: dispose };
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "berth-registry-cache-"));
  upstream = await start("upstream");
  const asked: string[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      const path = request.url.slice(request.url.indexOf("/v2/"));
      asked.push(`${request.method} ${path}`);
      return (await front.answer?.(request)) ?? (await fetch(`http://${upstream.host}${path}`, { method: request.method, headers: request.headers }));
    },
  });
  front = { host: `127.0.0.1:${server.port}`, asked, answer: undefined, stop: () => server.stop(true) };
  cache = await start("cache");
  settings = { ...openToAll, cache: { upstreams: [{ prefix: "up", registry: front.host }], revalidate: 60_000 } };
  cache.server.configure(settings);
});

afterEach(async () => {
  await cache[Symbol.asyncDispose]();
  await front.stop();
  await upstream[Symbol.asyncDispose]();
  removeRoot(folder);
});

const get = (path: string, init: RequestInit = {}): Promise<Response> => fetch(`http://${cache.host}/v2/${path}`, init);
const files = (): number => readdirSync(join(cache.root, "blobs/sha256")).length;
const gets = (what: string): number => front.asked.filter((line) => line.startsWith("GET") && line.includes(what)).length;
const errorOf = async (response: Response): Promise<unknown[]> => [
  response.status,
  ((await response.json()) as { errors: { code: string }[] }).errors[0]!.code,
];
const noise = (size: number): Uint8Array => {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 65536) crypto.getRandomValues(bytes.subarray(at, Math.min(size, at + 65536)));
  return bytes;
};

/** Into the upstream, past the front. */
async function push(name: string, tag: string, layer: Uint8Array): Promise<{ manifest: Digest; layer: Digest; config: Digest }> {
  for (const bytes of [new TextEncoder().encode("{}"), layer]) {
    const url = `http://${upstream.host}/v2/${name}/blobs/uploads/?digest=${digestOf(bytes)}`;
    expect((await fetch(url, { method: "POST", body: bytes })).status).toBe(201);
  }
  const document = JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { mediaType: mediaTypes.ociConfig, digest: digestOf("{}"), size: 2 },
    layers: [{ mediaType: mediaTypes.ociLayer, digest: digestOf(layer), size: layer.length }],
  });
  const headers = { "content-type": mediaTypes.ociManifest };
  expect((await fetch(`http://${upstream.host}/v2/${name}/manifests/${tag}`, { method: "PUT", body: document, headers })).status).toBe(201);
  return { manifest: digestOf(document), layer: digestOf(layer), config: digestOf("{}") };
}

test("the first asks the upstream, the next ones don't", async () => {
  const layer = noise(3 << 20);
  const image = await push("team/app", "1", layer);
  for (let i = 0; i < 2; i++) {
    const manifest = await get("up/team/app/manifests/1");
    expect([manifest.status, manifest.headers.get("docker-content-digest"), manifest.headers.get("content-type")]).toEqual([
      200,
      image.manifest,
      mediaTypes.ociManifest,
    ]);
    const head = await get(`up/team/app/blobs/${image.layer}`, { method: "HEAD" });
    expect([head.status, head.headers.get("content-length")]).toEqual([200, String(layer.length)]);
    expect(digestOf(await (await get(`up/team/app/blobs/${image.layer}`)).bytes())).toBe(image.layer);
    expect(await (await get(`up/team/app/blobs/${image.config}`)).text()).toBe("{}");
    expect((await get(`up/team/app/manifests/${image.manifest}`)).status).toBe(200);
  }
  expect([gets("manifests"), gets(image.layer), gets(image.config)]).toEqual([1, 1, 1]);
  const part = await get(`up/team/app/blobs/${image.layer}`, { headers: { range: "bytes=10-19" } });
  expect([part.status, (await part.bytes()).length]).toEqual([206, 10]);
  expect(await (await get("up/team/app/tags/list")).json()).toEqual({ name: "up/team/app", tags: ["1"] });
  expect((await (await get("_catalog")).json()) as object).toEqual({ repositories: ["up/team/app"] });
});

test("small blobs, asked for by many at once: however the fetch and the answers overlap", async () => {
  for (let round = 0; round < 20; round++) {
    const image = await push("app", `r${round}`, noise(1 + round * 700));
    await get(`up/app/manifests/r${round}`);
    const answers = await Promise.all(
      Array.from({ length: 8 }, async (_, i) => {
        await Bun.sleep(i % 4);
        return digestOf(await (await get(`up/app/blobs/${image.layer}`)).bytes());
      }),
    );
    expect(new Set(answers)).toEqual(new Set([image.layer]));
    expect(gets(image.layer)).toBe(1);
  }
});

test("many clients share one fetch, and get bytes before it has ended", async () => {
  const layer = noise(4 << 20);
  const image = await push("app", "1", layer);
  await get("up/app/manifests/1");
  const gate = Promise.withResolvers<void>();
  front.answer = (request) => {
    if (!request.url.includes(image.layer)) return undefined;
    const halves = [layer.subarray(0, layer.length / 2), layer.subarray(layer.length / 2)];
    const stream = new ReadableStream<Uint8Array>({
      pull: async (controller) => {
        const next = halves.shift();
        if (next === undefined) return controller.close();
        if (halves.length === 0) await gate.promise;
        controller.enqueue(next);
      },
    });
    return new Response(stream, { headers: { "content-length": String(layer.length) } });
  };
  const clients = await Promise.all(Array.from({ length: 5 }, () => get(`up/app/blobs/${image.layer}`)));
  const readers = clients.map((response) => response.body!.getReader());
  const firsts = await Promise.all(readers.map((reader) => reader.read()));
  expect(firsts.every(({ value }) => value!.length > 0)).toBe(true);
  // One goes away: the others and the copy don't suffer.
  await readers[4]!.cancel();
  gate.resolve();
  for (const [i, reader] of readers.slice(0, 4).entries()) {
    const chunks = [firsts[i]!.value!];
    for (let read = await reader.read(); !read.done; read = await reader.read()) chunks.push(read.value);
    expect(digestOf(Buffer.concat(chunks))).toBe(image.layer);
  }
  expect(gets(image.layer)).toBe(1);
  const range = await get(`up/app/blobs/${image.layer}`, { headers: { range: "bytes=-5" } });
  expect(await range.bytes()).toEqual(new Uint8Array(layer.subarray(-5)));
});

test("tags are compared when they are old enough, by a HEAD; moved ones come anew", async () => {
  const first = await push("app", "1", noise(1000));
  await get("up/app/manifests/1");
  const second = await push("app", "1", noise(1000));
  const digest = async (): Promise<string | null> => (await get("up/app/manifests/1")).headers.get("docker-content-digest");
  expect(await digest()).toBe(first.manifest);
  cache.server.configure({ ...settings, cache: { ...settings.cache, revalidate: 0 } });
  front.asked.length = 0;
  expect(await digest()).toBe(second.manifest);
  expect(await digest()).toBe(second.manifest);
  expect(front.asked).toEqual(["HEAD /v2/app/manifests/1", "GET /v2/app/manifests/1", "HEAD /v2/app/manifests/1"]);
  expect((await get(`up/app/manifests/${first.manifest}`)).status).toBe(200);

  front.answer = () => new Response("", { status: 503 });
  const stale = await get("up/app/manifests/1");
  expect([stale.status, stale.headers.get("docker-content-digest"), stale.headers.get("warning")]).toEqual([200, second.manifest, '110 - "Response is Stale"']);
  expect((await (await get("up/app/tags/list")).json()) as object).toEqual({ name: "up/app", tags: ["1"] });
  expect(await errorOf(await get("up/app/manifests/2"))).toEqual([502, "UNAVAILABLE"]);

  front.answer = () => Response.json({ errors: [{ code: "MANIFEST_UNKNOWN" }] }, { status: 404 });
  expect(await errorOf(await get("up/app/manifests/1"))).toEqual([404, "MANIFEST_UNKNOWN"]);
});

test("the upstream's refusals are told, and are not this registry's own", async () => {
  front.answer = () => new Response("", { status: 401, headers: { "www-authenticate": 'Basic realm="x"' } });
  const refused = await get("up/app/manifests/1");
  expect([refused.headers.get("www-authenticate"), ...(await errorOf(refused))]).toEqual([null, 403, "DENIED"]);
  front.answer = () => new Response("", { status: 429, headers: { "retry-after": "0" } });
  const busy = await get("up/app/manifests/1");
  expect([busy.headers.get("retry-after"), ...(await errorOf(busy))]).toEqual(["0", 429, "TOOMANYREQUESTS"]);
  expect(await errorOf(await get(`up/app/blobs/${digestOf("nobody named it")}`))).toEqual([404, "BLOB_UNKNOWN"]);
  expect(await errorOf(await get("up/app/blobs/uploads/", { method: "POST" }))).toEqual([405, "UNSUPPORTED"]);
  expect((await get("own/app/blobs/uploads/", { method: "POST" })).status).toBe(202);
});

test("credentials go to the upstream", async () => {
  cache.server.configure({
    ...settings,
    cache: { ...settings.cache, upstreams: [{ prefix: "up", registry: front.host, username: "me", password: "secret" }] },
  });
  const image = await push("app", "1", noise(100));
  const wanted = `Basic ${Buffer.from("me:secret").toString("base64")}`;
  front.answer = (request) =>
    request.headers.get("authorization") === wanted ? undefined : new Response("", { status: 401, headers: { "www-authenticate": 'Basic realm="x"' } });
  expect((await get("up/app/manifests/1")).headers.get("docker-content-digest")).toBe(image.manifest);
  expect((await get(`up/app/blobs/${image.layer}`)).status).toBe(200);
});

test("wrong bytes are not kept, and no client takes them for right", async () => {
  const layer = noise(2 << 20);
  const image = await push("app", "1", layer);
  await get("up/app/manifests/1");
  const wrong = layer.slice();
  wrong[5] = 255 - wrong[5]!;
  front.answer = (request) => (request.url.includes(image.layer) ? new Response(wrong) : undefined);
  const got = await get(`up/app/blobs/${image.layer}`).then((response) =>
    response.bytes().then(
      (bytes) => bytes.length,
      () => "cut off",
    ),
  );
  expect(got).toBe("cut off");
  expect(files()).toBe(1);
  front.answer = undefined;
  expect(digestOf(await (await get(`up/app/blobs/${image.layer}`)).bytes())).toBe(image.layer);
});

test("a fetch that breaks goes on where it was", async () => {
  const layer = noise(2 << 20);
  const image = await push("app", "1", layer);
  await get("up/app/manifests/1");
  let broken = 0;
  front.answer = (request) => {
    if (!request.url.includes(image.layer) || broken++ > 0) return undefined;
    const stream = new ReadableStream<Uint8Array>({
      pull: async (controller) => {
        controller.enqueue(layer.subarray(0, 1 << 20));
        await Bun.sleep(50);
        controller.error(new Error("gone"));
      },
    });
    return new Response(stream, { headers: { "content-length": String(layer.length) } });
  };
  expect(digestOf(await (await get(`up/app/blobs/${image.layer}`)).bytes())).toBe(image.layer);
  expect(broken).toBeGreaterThan(1);
});

test("copies keep to their size: what was used longest ago goes, and comes again", async () => {
  const images = [];
  for (const tag of ["1", "2", "3"]) images.push(await push("app", tag, noise(1 << 20)));
  cache.server.configure({ ...settings, cache: { ...settings.cache, maxSize: 5 << 19 } });
  for (const [i, { layer }] of images.entries()) {
    await get(`up/app/manifests/${i + 1}`);
    expect((await (await get(`up/app/blobs/${layer}`)).bytes()).length).toBe(1 << 20);
    await Bun.sleep(5);
  }
  await cache.server.collect();
  const there = images.map(({ layer }) => cache.records.blob("up/app", layer) !== undefined);
  expect(there).toEqual([false, true, true]);
  expect(cache.records.totalBytes).toBeLessThanOrEqual(5 << 19);
  await get("up/app/manifests/1");
  expect((await (await get(`up/app/blobs/${images[0]!.layer}`)).bytes()).length).toBe(1 << 20);
});

test("a registry that is a copy of another as a whole", async () => {
  cache.server.configure({ ...settings, cache: { ...settings.cache, upstreams: [{ prefix: "", registry: front.host }] } });
  const image = await push("team/app", "1", noise(100));
  expect((await get("team/app/manifests/1")).headers.get("docker-content-digest")).toBe(image.manifest);
  expect((await get("other/blobs/uploads/", { method: "POST" })).status).toBe(405);
});
