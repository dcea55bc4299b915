import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { removeRoot } from "../../test/remove-root.ts";
import { createContentStore } from "../content/content.ts";
import { createRegistryClient } from "../distribution/client.ts";
import { silent } from "../lib/log.ts";
import { digestOf } from "../oci/digest.ts";
import { openStore } from "../store/store.ts";
import { createRecords } from "./records.ts";
import { registryMigrations } from "./schema.ts";
import { createRegistryServer } from "./server.ts";

let root: string;
let port: number;
let stop: () => Promise<void>;
const blob = "0123456789";

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "berth-registry-hostile-"));
  const store = openStore(join(root, "registry.db"), registryMigrations);
  const content = createContentStore({ root: join(root, "content"), store, log: silent });
  const client = createRegistryClient({ insecure: [], mirrors: [], log: silent });
  const server = createRegistryServer({ client, content, records: createRecords(store, content), log: silent });
  ({ port } = await server.listen({ port: 0 }));
  stop = async () => {
    await server.close();
    store[Symbol.dispose]();
  };
  const pushed = await fetch(`http://127.0.0.1:${port}/v2/a/blobs/uploads/?digest=${digestOf(blob)}`, { method: "POST", body: blob });
  expect(pushed.status).toBe(201);
});

afterAll(async () => {
  await stop();
  removeRoot(root);
});

/** Sends bytes as they are; what comes back until the server has answered and closed, or fallen silent. */
async function raw(text: string, headers = "Connection: close\r\n"): Promise<{ status: number; text: string }> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let answer = "";
  const socket = connect(port, "127.0.0.1");
  socket.on("data", (bytes) => (answer += bytes.toString("latin1")));
  socket.on("error", () => undefined);
  socket.on("close", () => resolve(answer));
  socket.write(`${text} HTTP/1.1\r\nHost: x\r\n${headers}\r\n`);
  const timer = setTimeout(() => socket.destroy(), 5000);
  const got = await promise;
  clearTimeout(timer);
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(got)?.[1] ?? 0), text: got };
}

describe("paths", () => {
  const rows = [
    "/v2/../../etc/passwd",
    "/v2/..%2f..%2fetc/manifests/latest",
    "/v2/%2e%2e/%2e%2e/manifests/latest",
    "/v2/a/blobs/..%2f..%2f..%2fetc%2fpasswd",
    "/v2/a/blobs/sha256:..%2f..%2fregistry.db",
    "/v2/a/manifests/..",
    "/v2/a/blobs/uploads/..%2f..%2fx",
    "/v2/a/blobs/uploads/%00",
    "/v2/a%00b/tags/list",
    "/v2/a/manifests/%ff%fe",
    "/v2//a/tags/list",
    `/v2/${"a/".repeat(200)}b/tags/list`,
    `/v2/${"a".repeat(5000)}/tags/list`,
    "//v2/",
    "/v2/a/tags/list/../../../../etc",
    "http://elsewhere/v2/a/tags/nope",
  ];
  for (const path of rows) {
    test(path.slice(0, 60), async () => {
      const { status, text } = await raw(`GET ${path}`);
      expect([400, 404]).toContain(status);
      expect(text).not.toContain("root:");
    });
  }
});

test("digests of other algorithms and shapes", async () => {
  const wrong = [
    "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
    `sha384:${"a".repeat(96)}`,
    `SHA256:${"a".repeat(64)}`,
    `sha256:${"A".repeat(64)}`,
    "sha256:",
    "md5:x",
    "%20",
  ];
  for (const digest of wrong) {
    expect((await raw(`GET /v2/a/blobs/${digest}`)).status).toBe(400);
    expect((await raw(`POST /v2/a/blobs/uploads/?digest=${digest}`, "Content-Length: 0\r\nConnection: close\r\n")).status).toBe(400);
    expect((await raw(`POST /v2/a/blobs/uploads/?mount=${digest}&from=a`, "Content-Length: 0\r\nConnection: close\r\n")).status).toBe(400);
  }
  expect(readdirSync(join(root, "content/ingest"))).toEqual([]);
});

test("ranges: what can't be read gives the whole, what can't be given a 416", async () => {
  const get = (range: string) => raw(`GET /v2/a/blobs/${digestOf(blob)}`, `Range: ${range}\r\nConnection: close\r\n`);
  for (const range of ["bytes=5-2", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,4-5", "bytes=1-99999999999999999999", "bytes", "=", "bytes=--1"]) {
    const { status, text } = await get(range);
    expect([range, status, text.endsWith(blob)]).toEqual([range, 200, true]);
  }
  for (const range of ["bytes=10-", "bytes=-0", "bytes=999999999-"]) expect((await get(range)).status).toBe(416);
  for (const range of ["bytes=0-99", "bytes=-99", "bytes= 0 - "]) expect([range, (await get(range)).text.endsWith(blob)]).toEqual([range, true]);
});

test("headers too large, broken heads, smuggled bodies", async () => {
  expect((await raw("GET /v2/", `A: ${"a".repeat(100_000)}\r\nConnection: close\r\n`)).status).toBe(431);
  expect([400, 431]).toContain((await raw("GET /v2/", "A: b\r\n".repeat(5000))).status);
  const twice = await raw("POST /v2/a/blobs/uploads/", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n");
  expect(twice.status).not.toBe(202);
  expect((await raw("POST /v2/a/blobs/uploads/", "Content-Length: 5\r\nContent-Length: 6\r\nConnection: close\r\n")).status).not.toBe(202);
  expect((await raw("POST /v2/a/blobs/uploads/", "Content-Length: -1\r\nConnection: close\r\n")).status).not.toBe(202);
  expect((await fetch(`http://127.0.0.1:${port}/v2/`)).status).toBe(200);
});

test("a port that is taken is not shared", async () => {
  const store = openStore(join(root, "second.db"), registryMigrations);
  const content = createContentStore({ root: join(root, "second"), store, log: silent });
  const client = createRegistryClient({ insecure: [], mirrors: [], log: silent });
  const second = createRegistryServer({ client, content, records: createRecords(store, content), log: silent });
  try {
    await expect(second.listen({ port })).rejects.toThrow(/^can't listen on 127\.0\.0\.1:\d+: /);
  } finally {
    await second.close();
    store[Symbol.dispose]();
  }
});

test("a manifest that is deep, wide, huge or no UTF-8", async () => {
  const put = async (body: string | Uint8Array): Promise<number> =>
    (
      await fetch(`http://127.0.0.1:${port}/v2/a/manifests/x`, {
        method: "PUT",
        body,
        headers: { "content-type": "application/vnd.oci.image.manifest.v1+json" },
      })
    ).status;
  const layers = Array.from({ length: 20_000 }, () => ({ digest: digestOf(blob) }));
  expect(await put("[".repeat(1_000_000))).toBe(400);
  expect(await put(`{"schemaVersion":2,"config":${"[".repeat(100_000)}${"]".repeat(100_000)},"layers":[]}`)).toBe(400);
  expect(await put(JSON.stringify({ schemaVersion: 2, config: { digest: digestOf(blob) }, layers }))).toBe(400);
  expect(await put(new Uint8Array([0x7b, 0xff, 0xfe, 0x7d]))).toBe(400);
  expect(await put('{"schemaVersion":2,"__proto__":{"config":1},"config":null,"layers":null}')).toBe(400);
  expect(await put(`{"schemaVersion":2,"config":{"digest":"${digestOf(blob)}","size":-5},"layers":[],"annotations":[1,2]}`)).toBe(201);
});

test("a push's bytes don't stay in memory", async () => {
  const chunk = new Uint8Array(65536);
  let left = 3000;
  const stream = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      if (left-- === 0) controller.close();
      else controller.enqueue(chunk);
    },
  });
  const begun = await fetch(`http://127.0.0.1:${port}/v2/large/blobs/uploads/`, { method: "POST" });
  const url = `http://127.0.0.1:${port}${begun.headers.get("location")}`;
  const before = process.memoryUsage.rss();
  expect((await fetch(url, { method: "PATCH", body: stream })).status).toBe(202);
  expect((process.memoryUsage.rss() - before) / 2 ** 20).toBeLessThan(120);
  await fetch(url, { method: "DELETE" });
});

test("hundreds of uploads that are begun and left take no more than their places", async () => {
  const begun = await Promise.all(Array.from({ length: 1005 }, () => fetch(`http://127.0.0.1:${port}/v2/left/blobs/uploads/`, { method: "POST" })));
  const statuses = begun.map(({ status }) => status);
  expect(statuses.filter((status) => status === 202)).toHaveLength(1000);
  expect(new Set(statuses)).toEqual(new Set([202, 429]));
  await Promise.all(
    begun.map((response) => response.headers.get("location")).map((path) => path !== null && fetch(`http://127.0.0.1:${port}${path}`, { method: "DELETE" })),
  );
  expect(readdirSync(join(root, "content/ingest"))).toEqual([]);
  expect(existsSync(join(root, "registry.db"))).toBe(true);
});
