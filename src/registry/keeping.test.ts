import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { removeRoot } from "../../test/remove-root.ts";
import { createContentStore } from "../content/content.ts";
import type { ContentStore } from "../content/types.ts";
import { createRegistryClient } from "../distribution/client.ts";
import { silent } from "../lib/log.ts";
import { digestOf, hexOf, type Digest } from "../oci/digest.ts";
import { mediaTypes } from "../oci/image.ts";
import { openStore, type Store } from "../store/store.ts";
import { createRecords, type Records } from "./records.ts";
import { restoreRecords } from "./restore.ts";
import { registryMigrations } from "./schema.ts";
import { createRegistryServer, openToAll, type RegistryServer, type RegistrySettings } from "./server.ts";

let root: string;
let store: Store;
let content: ContentStore;
let records: Records;
let server: RegistryServer;
let base: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "berth-registry-keeping-"));
  store = openStore(join(root, "registry.db"), registryMigrations);
  content = createContentStore({ root: join(root, "content"), store, log: silent });
  records = createRecords(store, content);
  server = createRegistryServer({ client: createRegistryClient({ insecure: [], mirrors: [], log: silent }), content, records, log: silent });
  base = `http://127.0.0.1:${(await server.listen({ port: 0 })).port}/v2`;
});

afterEach(async () => {
  await server.close();
  store[Symbol.dispose]();
  removeRoot(root);
});

const configure = (settings: Partial<RegistrySettings>): void => server.configure({ ...openToAll, ...settings });
/** With no grace, whatever is loose goes. */
const collectAll = async (untagged = false): Promise<{ blobs: number; manifests: number }> => {
  configure({ gc: { interval: 0, grace: -1000, untagged } });
  return await server.collect();
};
const files = (): string[] => readdirSync(join(root, "content/blobs/sha256")).sort();
const errorOf = async (response: Response): Promise<{ status: number; code: string; message: string }> => {
  const [error] = ((await response.json()) as { errors: { code: string; message: string }[] }).errors;
  return { status: response.status, code: error!.code, message: error!.message };
};
const upload = (name: string, bytes: Uint8Array | string): Promise<Response> =>
  fetch(`${base}/${name}/blobs/uploads/?digest=${digestOf(bytes)}`, { method: "POST", body: bytes });

async function push(name: string, bytes: string): Promise<Digest> {
  expect((await upload(name, bytes)).status).toBe(201);
  return digestOf(bytes);
}

const putManifest = (name: string, version: string, document: object, type: string = mediaTypes.ociManifest): Promise<Response> =>
  fetch(`${base}/${name}/manifests/${version}`, { method: "PUT", body: JSON.stringify(document), headers: { "content-type": type } });

async function pushImage(name: string, version: string | undefined, layer: string, extra: object = {}): Promise<{ digest: Digest; size: number }> {
  const document = {
    schemaVersion: 2,
    config: { mediaType: mediaTypes.ociConfig, digest: await push(name, "{}"), size: 2 },
    layers: [{ mediaType: mediaTypes.ociLayer, digest: await push(name, layer), size: layer.length }],
    ...extra,
  };
  const digest = digestOf(JSON.stringify(document));
  expect((await putManifest(name, version ?? digest, document)).status).toBe(201);
  return { digest, size: JSON.stringify(document).length };
}

describe("collection", () => {
  test("takes blobs that no manifest names, after the grace time", async () => {
    await pushImage("a", "1", "named");
    const loose = await push("a", "loose");
    await push("b", "named");
    configure({ gc: { interval: 0, grace: 60_000, untagged: false } });
    expect(await server.collect()).toEqual({ blobs: 0, manifests: 0 });
    expect(await collectAll()).toEqual({ blobs: 2, manifests: 0 });
    expect(files()).not.toContain(hexOf(loose));
    expect((await fetch(`${base}/a/blobs/${loose}`)).status).toBe(404);
    expect((await fetch(`${base}/b/blobs/${digestOf("named")}`)).status).toBe(404);
    expect(await (await fetch(`${base}/a/blobs/${digestOf("named")}`)).text()).toBe("named");
  });

  test("a blob that someone asked for is used, and kept for the grace time", async () => {
    const digest = await push("a", "asked for");
    store.db.query("UPDATE registry_blobs SET used_at = 0").run();
    configure({ gc: { interval: 0, grace: 60_000, untagged: false } });
    expect((await fetch(`${base}/a/blobs/${digest}`, { method: "HEAD" })).status).toBe(200);
    expect(await server.collect()).toEqual({ blobs: 0, manifests: 0 });
    store.db.query("UPDATE registry_blobs SET used_at = 0").run();
    expect(await server.collect()).toEqual({ blobs: 1, manifests: 0 });
  });

  test("deleting a manifest frees what only it named", async () => {
    const { digest } = await pushImage("a", "1", "gone");
    await pushImage("a", "2", "kept");
    expect((await fetch(`${base}/a/manifests/${digest}`, { method: "DELETE" })).status).toBe(202);
    expect(await collectAll()).toEqual({ blobs: 1, manifests: 0 });
    expect(await (await fetch(`${base}/a/blobs/${digestOf("kept")}`)).text()).toBe("kept");
    expect((await fetch(`${base}/a/blobs/${digestOf("{}")}`)).status).toBe(200);
  });

  test("untagged manifests go only if told, never those of a tagged index, nor referrers of what stays", async () => {
    const child = await pushImage("a", undefined, "child");
    const index = { schemaVersion: 2, manifests: [{ mediaType: mediaTypes.ociManifest, digest: child.digest, size: child.size }] };
    expect((await putManifest("a", "index", index, mediaTypes.ociIndex)).status).toBe(201);
    const subject = { mediaType: mediaTypes.ociIndex, digest: digestOf(JSON.stringify(index)), size: 1 };
    const signature = await pushImage("a", undefined, "signature", { subject });
    const old = await pushImage("a", "moving", "old");
    const oldReferrer = await pushImage("a", undefined, "old signature", { subject: { mediaType: mediaTypes.ociManifest, ...old } });
    await pushImage("a", "moving", "new");

    expect(await collectAll(false)).toEqual({ blobs: 0, manifests: 0 });
    expect((await fetch(`${base}/a/manifests/${old.digest}`)).status).toBe(200);
    expect(await collectAll(true)).toEqual({ blobs: 2, manifests: 2 });
    for (const { digest } of [old, oldReferrer]) expect((await fetch(`${base}/a/manifests/${digest}`)).status).toBe(404);
    for (const { digest } of [child, signature]) expect((await fetch(`${base}/a/manifests/${digest}`)).status).toBe(200);

    await fetch(`${base}/a/manifests/index`, { method: "DELETE" });
    await fetch(`${base}/a/manifests/moving`, { method: "DELETE" });
    await collectAll(true);
    expect(files()).toEqual([]);
    expect(records.totalBytes).toBe(0);
  });

  test("runs beside pushes and loses nothing of them", async () => {
    configure({ gc: { interval: 1, grace: 5_000, untagged: true } });
    await Promise.all(
      Array.from({ length: 8 }, async (_, worker) => {
        for (let i = 0; i < 10; i++) {
          const { digest } = await pushImage(`r${worker % 3}`, `t${worker}`, `layer ${i % 4}`);
          if (i % 3 === 0) await fetch(`${base}/r${worker % 3}/manifests/${digest}`, { method: "DELETE" });
        }
      }),
    );
    await collectAll(true);
    for (const { repository, digest } of store.db.query<{ repository: string; digest: string }, []>("SELECT repository, digest FROM registry_links").all()) {
      expect((await fetch(`${base}/${repository}/blobs/${digest}`)).status).toBe(200);
    }
    expect(files()).toHaveLength(content.list().length);
  });

  test("more than a page of them", async () => {
    for (let i = 0; i < 450; i++) records.addBlob("many", digestOf(`${i}`), 1, 0);
    expect(await collectAll()).toEqual({ blobs: 450, manifests: 0 });
    expect(files()).toEqual([]);
  });
});

describe("quota", () => {
  const bytes = (size: number, fill: number): Uint8Array => new Uint8Array(size).fill(fill);

  test("of the whole: what is over it is refused before its bytes are taken, in words", async () => {
    configure({ quota: { total: 3 << 20, repositories: {} } });
    expect((await upload("a", bytes(2 << 20, 1))).status).toBe(201);
    expect(await errorOf(await upload("b", bytes(2 << 20, 2)))).toEqual({
      status: 403,
      code: "DENIED",
      message: "the registry would exceed its quota of 3MB: it holds 2MB, and what is being pushed takes 2MB",
    });
    // The same bytes in another repository take no room of the whole.
    const mounted = await fetch(`${base}/b/blobs/uploads/?mount=${digestOf(bytes(2 << 20, 1))}&from=a`, { method: "POST" });
    expect(mounted.status).toBe(403);
    expect((await upload("b", bytes(1 << 20, 3))).status).toBe(201);
    await fetch(`${base}/a/blobs/${digestOf(bytes(2 << 20, 1))}`, { method: "DELETE" });
    expect((await upload("b", bytes(2 << 20, 2))).status).toBe(201);
    expect(readdirSync(join(root, "content/ingest"))).toEqual([]);
  });

  test("of each repository, with others for some", async () => {
    configure({ quota: { repository: 1 << 20, repositories: { "big/**": 4 << 20 } } });
    expect((await upload("small/a", bytes(1 << 20, 1))).status).toBe(201);
    expect((await errorOf(await upload("small/a", bytes(10, 1)))).message).toBe(
      "repository small/a would exceed its quota of 1MB: it holds 1MB, and what is being pushed takes 10B",
    );
    expect((await upload("small/b", bytes(10, 1))).status).toBe(201);
    expect((await upload("big/a", bytes(3 << 20, 1))).status).toBe(201);
    expect((await fetch(`${base}/small/b/blobs/uploads/?mount=${digestOf(bytes(3 << 20, 1))}&from=big/a`, { method: "POST" })).status).toBe(403);
  });

  test("of an upload whose length isn't told, and in chunks: cut off where the room ends", async () => {
    configure({ quota: { total: 1 << 20, repositories: {} } });
    const posted = await fetch(`${base}/a/blobs/uploads/`, { method: "POST" });
    const url = new URL(posted.headers.get("location")!, base).href;
    expect((await fetch(url, { method: "PATCH", body: bytes(600_000, 1) })).status).toBe(202);
    const stream = new ReadableStream<Uint8Array>({
      pull: (controller) => {
        controller.enqueue(bytes(65536, 2));
      },
    });
    expect((await errorOf(await fetch(url, { method: "PATCH", body: stream }))).code).toBe("DENIED");
    await fetch(url, { method: "DELETE" });
    expect((await upload("a", bytes(1 << 20, 1))).status).toBe(201);
  });

  test("an upload that found no room is over: what came of it is others'", async () => {
    configure({ quota: { total: 1 << 20, repositories: {} } });
    const posted = await fetch(`${base}/a/blobs/uploads/`, { method: "POST" });
    const url = new URL(posted.headers.get("location")!, base).href;
    expect((await fetch(url, { method: "PATCH", body: bytes(600_000, 1) })).status).toBe(202);
    expect((await fetch(url, { method: "PATCH", body: bytes(600_000, 1) })).status).toBe(403);
    expect((await fetch(url, { method: "PATCH", body: bytes(1000, 1) })).status).toBe(404);
    expect(readdirSync(join(root, "content/ingest"))).toEqual([]);
    expect((await upload("a", bytes(1 << 20, 1))).status).toBe(201);
  });

  test("uploads at the same time share what is left", async () => {
    configure({ quota: { total: 40 << 20, repositories: {} } });
    const statuses = await Promise.all(Array.from({ length: 5 }, (_, i) => upload("a", bytes(10 << 20, i)).then(({ status }) => status)));
    expect(statuses.filter((status) => status === 201).length).toBeLessThanOrEqual(4);
    expect(records.totalBytes).toBe(statuses.filter((status) => status === 201).length * (10 << 20));
  });

  test("counts manifests", async () => {
    await pushImage("a", "1", "x");
    configure({ quota: { total: records.totalBytes + 10, repositories: {} } });
    const manifest = { schemaVersion: 2, config: { digest: digestOf("{}"), size: 2 }, layers: [] };
    expect((await errorOf(await putManifest("a", "2", manifest))).code).toBe("DENIED");
  });
});

test("read-only: all can be read, nothing changed", async () => {
  const { digest } = await pushImage("a", "1", "x");
  configure({ readOnly: true });
  expect((await fetch(`${base}/a/manifests/1`)).status).toBe(200);
  for (const [method, path] of [
    ["POST", "a/blobs/uploads/"],
    ["PUT", "a/manifests/2"],
    ["DELETE", `a/manifests/${digest}`],
    ["DELETE", `a/blobs/${digestOf("x")}`],
  ] as const) {
    expect(await errorOf(await fetch(`${base}/${path}`, { method }))).toEqual({ status: 405, code: "UNSUPPORTED", message: "the registry is read-only" });
  }
});

test("a registry of the first schema keeps what it has", async () => {
  const folder = join(root, "old");
  await using stack = new AsyncDisposableStack();
  const path = `${folder}.db`;
  const manifest = JSON.stringify({ schemaVersion: 2, config: { digest: digestOf("{}"), size: 2 }, layers: [{ digest: digestOf("layer"), size: 5 }] });
  {
    using before = openStore(path, registryMigrations.slice(0, 1));
    const old = createContentStore({ root: folder, store: before, log: silent });
    for (const text of ["{}", "layer", manifest]) await old.put(text);
    for (const text of ["{}", "layer"]) before.db.query("INSERT INTO repository_blobs VALUES ('a', ?)").run(digestOf(text));
    before.db.query("INSERT INTO manifests VALUES ('a', ?, ?, NULL, NULL, NULL)").run(digestOf(manifest), mediaTypes.ociManifest);
    before.db.query("INSERT INTO tags VALUES ('a', '1', ?)").run(digestOf(manifest));
  }
  const now = stack.use(openStore(path, registryMigrations));
  const there = createContentStore({ root: folder, store: now, log: silent });
  const own = createRecords(now, there);
  await restoreRecords(there, own, silent);
  const old = createRegistryServer({
    client: createRegistryClient({ insecure: [], mirrors: [], log: silent }),
    content: there,
    records: own,
    log: silent,
    settings: { ...openToAll, gc: { interval: 0, grace: -1000, untagged: true } },
  });
  const { port } = await old.listen({ port: 0 });
  stack.defer(() => old.close());
  expect(await old.collect()).toEqual({ blobs: 0, manifests: 0 });
  expect(await (await fetch(`http://127.0.0.1:${port}/v2/a/manifests/1`)).text()).toBe(manifest);
  expect(own.totalBytes).toBe(manifest.length + 7);
});
