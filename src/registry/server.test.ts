import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { connect } from "node:net";
import { join } from "node:path";
import { removeRoot } from "../../test/remove-root.ts";
import { createContentStore } from "../content/content.ts";
import { createRegistryClient } from "../distribution/client.ts";
import { silent } from "../lib/log.ts";
import { digestOf, hexOf, type Digest } from "../oci/digest.ts";
import { mediaTypes } from "../oci/image.ts";
import { openStore, type Store } from "../store/store.ts";
import { createRecords } from "./records.ts";
import { restoreRecords } from "./restore.ts";
import { registryMigrations } from "./schema.ts";
import { createRegistryServer, type RegistryServer } from "./server.ts";

let root: string;
let store: Store;
let server: RegistryServer;
let base: string;
let port: number;

async function start(): Promise<void> {
  store = openStore(join(root, "registry.db"), registryMigrations);
  const content = createContentStore({ root: join(root, "content"), store, log: silent });
  const records = createRecords(store, content);
  await restoreRecords(content, records, silent);
  await content.collect(content.list().map(({ digest }) => digest));
  server = createRegistryServer({ client: createRegistryClient({ insecure: [], mirrors: [], log: silent }), content, records, log: silent });
  ({ port } = await server.listen({ port: 0 }));
  base = `http://127.0.0.1:${port}/v2`;
}

async function stop(): Promise<void> {
  await server.close();
  store[Symbol.dispose]();
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "berth-registry-"));
  await start();
});

afterAll(async () => {
  await stop();
  removeRoot(root);
});

const at = (location: string | null): string => new URL(location ?? "missing", base).href;
const codeOf = async (response: Response): Promise<string> => ((await response.json()) as { errors: { code: string }[] }).errors[0]!.code;

async function push(name: string, bytes: Uint8Array | string): Promise<Digest> {
  const digest = digestOf(bytes);
  const response = await fetch(`${base}/${name}/blobs/uploads/?digest=${digest}`, { method: "POST", body: bytes });
  expect(response.status).toBe(201);
  return digest;
}

async function pushImage(name: string, tag: string, layer: string, extra: object = {}): Promise<{ digest: Digest; body: string }> {
  const config = await push(name, "{}");
  const body = JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { mediaType: mediaTypes.ociConfig, digest: config, size: 2 },
    layers: [{ mediaType: mediaTypes.ociLayer, digest: await push(name, layer), size: layer.length }],
    ...extra,
  });
  const response = await fetch(`${base}/${name}/manifests/${tag}`, { method: "PUT", body, headers: { "content-type": mediaTypes.ociManifest } });
  expect(response.status).toBe(201);
  return { digest: digestOf(body), body };
}

test("the root says what it is", async () => {
  const response = await fetch(`${base}/`);
  expect([response.status, await response.json(), response.headers.get("docker-distribution-api-version")]).toEqual([200, {}, "registry/2.0"]);
});

describe("blobs", () => {
  test("POST and PUT, then GET, HEAD, ranges and conditions", async () => {
    const bytes = "0123456789";
    const digest = digestOf(bytes);
    const posted = await fetch(`${base}/blobs/one/blobs/uploads/`, { method: "POST" });
    expect([posted.status, posted.headers.get("range")]).toEqual([202, "0-0"]);
    const put = await fetch(`${at(posted.headers.get("location"))}?digest=${digest}`, { method: "PUT", body: bytes });
    expect([put.status, put.headers.get("docker-content-digest"), put.headers.get("location")]).toEqual([201, digest, `/v2/blobs/one/blobs/${digest}`]);

    const url = at(put.headers.get("location"));
    const whole = await fetch(url);
    expect([whole.status, await whole.text(), whole.headers.get("accept-ranges"), whole.headers.get("etag")]).toEqual([200, bytes, "bytes", `"${digest}"`]);
    const head = await fetch(url, { method: "HEAD" });
    expect([head.status, head.headers.get("content-length"), await head.text()]).toEqual([200, "10", ""]);
    const part = await fetch(url, { headers: { range: "bytes=2-4" } });
    expect([part.status, await part.text(), part.headers.get("content-range")]).toEqual([206, "234", "bytes 2-4/10"]);
    const beyond = await fetch(url, { headers: { range: "bytes=10-" } });
    expect([beyond.status, beyond.headers.get("content-range")]).toEqual([416, "bytes */10"]);
    expect((await fetch(url, { headers: { "if-none-match": `"${digest}"` } })).status).toBe(304);
    const changed = await fetch(url, { headers: { range: "bytes=2-4", "if-range": '"other"' } });
    expect([changed.status, await changed.text()]).toEqual([200, bytes]);
  });

  test("chunks in order, with status; out of order is a 416 that says where it stands", async () => {
    const posted = await fetch(`${base}/chunked/blobs/uploads/`, { method: "POST" });
    const url = at(posted.headers.get("location"));
    const patch = (range: string, body: string): Promise<Response> => fetch(url, { method: "PATCH", body, headers: { "content-range": range } });
    const first = await patch("0-4", "01234");
    expect([first.status, first.headers.get("range")]).toEqual([202, "0-4"]);
    const wrong = await patch("7-9", "789");
    expect([wrong.status, wrong.headers.get("range"), await codeOf(wrong)]).toEqual([416, "0-4", "RANGE_INVALID"]);
    expect(await codeOf(await patch("5-9", "5"))).toBe("SIZE_INVALID");
    expect(await codeOf(await patch("nonsense", "5"))).toBe("BLOB_UPLOAD_INVALID");
    const status = await fetch(url);
    expect([status.status, status.headers.get("range")]).toEqual([204, "0-4"]);
    expect((await patch("5-9", "56789")).status).toBe(202);
    const put = await fetch(`${url}?digest=${digestOf("0123456789")}`, { method: "PUT" });
    expect(put.status).toBe(201);
    expect((await fetch(url)).status).toBe(404);
  });

  test("a cancelled upload and one with a wrong digest leave nothing", async () => {
    for (const end of [(url: string) => fetch(url, { method: "DELETE" }), (url: string) => fetch(`${url}?digest=${digestOf("other")}`, { method: "PUT" })]) {
      const posted = await fetch(`${base}/gone/blobs/uploads/`, { method: "POST", body: "" });
      const url = at(posted.headers.get("location"));
      await fetch(url, { method: "PATCH", body: "some bytes" });
      expect([204, 400]).toContain((await end(url)).status);
      expect(await codeOf(await fetch(url, { method: "PATCH", body: "x" }))).toBe("BLOB_UPLOAD_UNKNOWN");
    }
    expect(await readdir(join(root, "content", "ingest"))).toEqual([]);
    expect((await fetch(`${base}/gone/blobs/${digestOf("some bytes")}`)).status).toBe(404);
  });

  test("mounted from another repository, with or without its name", async () => {
    const digest = await push("mount/source", "shared");
    expect((await fetch(`${base}/mount/target/blobs/${digest}`)).status).toBe(404);
    const mounted = await fetch(`${base}/mount/target/blobs/uploads/?mount=${digest}&from=mount/source`, { method: "POST" });
    expect([mounted.status, mounted.headers.get("location")]).toEqual([201, `/v2/mount/target/blobs/${digest}`]);
    expect(await (await fetch(`${base}/mount/target/blobs/${digest}`)).text()).toBe("shared");
    expect((await fetch(`${base}/mount/any/blobs/uploads/?mount=${digest}`, { method: "POST" })).status).toBe(201);
    const missing = await fetch(`${base}/mount/target/blobs/uploads/?mount=${digestOf("nowhere")}&from=mount/source`, { method: "POST" });
    expect(missing.status).toBe(202);
    await fetch(at(missing.headers.get("location")), { method: "DELETE" });
  });

  test("a blob goes from disk when the last repository has deleted it", async () => {
    const digest = await push("delete/a", "to delete");
    await push("delete/b", "to delete");
    const file = join(root, "content", "blobs", "sha256", hexOf(digest));
    expect((await fetch(`${base}/delete/a/blobs/${digest}`, { method: "DELETE" })).status).toBe(202);
    expect((await fetch(`${base}/delete/a/blobs/${digest}`)).status).toBe(404);
    expect(existsSync(file)).toBe(true);
    expect((await fetch(`${base}/delete/b/blobs/${digest}`, { method: "DELETE" })).status).toBe(202);
    expect(existsSync(file)).toBe(false);
    expect(await codeOf(await fetch(`${base}/delete/b/blobs/${digest}`, { method: "DELETE" }))).toBe("BLOB_UNKNOWN");
  });

  test("a client that goes away in the middle can go on where it stood", async () => {
    const posted = await fetch(`${base}/broken/blobs/uploads/`, { method: "POST" });
    const path = posted.headers.get("location")!;
    const socket = connect(port, "127.0.0.1");
    socket.write(`PATCH ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n01234`);
    let written = "0-0";
    while (written !== "0-4") written = (await fetch(at(path))).headers.get("range")!;
    socket.destroy();
    let status = 409;
    while (status === 409) ({ status } = await fetch(at(path), { method: "PATCH", body: "56789", headers: { "content-range": "5-9" } }));
    expect(status).toBe(202);
    expect((await fetch(`${at(path)}?digest=${digestOf("0123456789")}`, { method: "PUT" })).status).toBe(201);
  });

  test("who asks at once where a broken upload stands is told of the bytes that are on their way yet", async () => {
    const posted = await fetch(`${base}/broken/blobs/uploads/`, { method: "POST" });
    const path = posted.headers.get("location")!;
    const socket = connect(port, "127.0.0.1");
    socket.write(`PATCH ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n`);
    while ((await fetch(at(path), { method: "PATCH" })).status !== 409);
    const asked = fetch(at(path));
    // the registry has the question before the bytes come
    await fetch(`${base}/`);
    socket.end("01234");
    expect((await asked).headers.get("range")).toBe("0-4");
    await fetch(at(path), { method: "DELETE" });
  });
});

describe("manifests", () => {
  test("by tag and by digest, and moved tags", async () => {
    const first = await pushImage("image", "1", "layer one");
    const byTag = await fetch(`${base}/image/manifests/1`);
    expect([byTag.status, await byTag.text(), byTag.headers.get("content-type"), byTag.headers.get("docker-content-digest")]).toEqual([
      200,
      first.body,
      mediaTypes.ociManifest,
      first.digest,
    ]);
    const second = await pushImage("image", "1", "layer two");
    expect(await (await fetch(`${base}/image/manifests/1`)).text()).toBe(second.body);
    expect(await (await fetch(`${base}/image/manifests/${first.digest}`)).text()).toBe(first.body);
    const head = await fetch(`${base}/image/manifests/1`, { method: "HEAD" });
    expect([head.status, head.headers.get("content-length")]).toEqual([200, String(second.body.length)]);
    expect((await fetch(`${base}/image/manifests/1`, { headers: { "if-none-match": `"${second.digest}"` } })).status).toBe(304);
  });

  test("deleted by tag only the tag goes, by digest all of it", async () => {
    const { digest } = await pushImage("image-delete", "1", "layer");
    expect((await fetch(`${base}/image-delete/manifests/1`, { method: "DELETE" })).status).toBe(202);
    expect(await codeOf(await fetch(`${base}/image-delete/manifests/1`))).toBe("MANIFEST_UNKNOWN");
    expect((await fetch(`${base}/image-delete/manifests/${digest}`)).status).toBe(200);
    await pushImage("image-delete", "2", "layer");
    expect((await fetch(`${base}/image-delete/manifests/${digest}`, { method: "DELETE" })).status).toBe(202);
    expect((await fetch(`${base}/image-delete/manifests/2`)).status).toBe(404);
    expect((await fetch(`${base}/image-delete/manifests/${digest}`, { method: "DELETE" })).status).toBe(404);
  });

  test("by digest with several tags at once", async () => {
    const { digest, body } = await pushImage("tagged", "first", "layer");
    const headers = { "content-type": mediaTypes.ociManifest };
    const put = await fetch(`${base}/tagged/manifests/${digest}?tag=1.2&tag=latest`, { method: "PUT", body, headers });
    expect([put.status, put.headers.get("oci-tag")]).toEqual([201, "1.2, latest"]);
    expect(((await (await fetch(`${base}/tagged/tags/list`)).json()) as { tags: string[] }).tags).toEqual(["1.2", "first", "latest"]);
    expect(await codeOf(await fetch(`${base}/tagged/manifests/${digest}?tag=..`, { method: "PUT", body, headers }))).toBe("TAG_INVALID");
    const many = new URLSearchParams(Array.from({ length: 101 }, (_, i): [string, string] => ["tag", `t${i}`]));
    expect((await fetch(`${base}/tagged/manifests/${digest}?${many}`, { method: "PUT", body, headers })).status).toBe(414);
  });

  test("refused: unknown blobs, bad JSON, a wrong digest, other types, too much", async () => {
    const put = (body: string | Uint8Array, version = "x", type: string = mediaTypes.ociManifest): Promise<Response> =>
      fetch(`${base}/refused/manifests/${version}`, { method: "PUT", body, headers: { "content-type": type } });
    const manifest = { schemaVersion: 2, config: { mediaType: mediaTypes.ociConfig, digest: digestOf("nobody has this"), size: 1 }, layers: [] };
    const unknown = await put(JSON.stringify(manifest));
    expect([unknown.status, await codeOf(unknown)]).toEqual([400, "MANIFEST_BLOB_UNKNOWN"]);
    expect(await codeOf(await put("{"))).toBe("MANIFEST_INVALID");
    expect(await codeOf(await put("null"))).toBe("MANIFEST_INVALID");
    expect(await codeOf(await put(JSON.stringify({ ...manifest, layers: [{ digest: "sha256:../x" }] })))).toBe("MANIFEST_INVALID");
    expect(await codeOf(await put(JSON.stringify({ ...manifest, manifests: [] })))).toBe("MANIFEST_INVALID");
    expect(await codeOf(await put(JSON.stringify({ ...manifest, mediaType: mediaTypes.dockerManifest })))).toBe("MANIFEST_INVALID");
    expect(await codeOf(await put(JSON.stringify(manifest), digestOf("another")))).toBe("DIGEST_INVALID");
    const index = { schemaVersion: 2, manifests: [{ mediaType: mediaTypes.ociManifest, digest: digestOf("no"), size: 1 }] };
    expect(await codeOf(await put(JSON.stringify(index), "x", mediaTypes.ociIndex))).toBe("MANIFEST_BLOB_UNKNOWN");
    const large = await put(new Uint8Array(5 << 20));
    expect([large.status, await codeOf(large)]).toEqual([413, "SIZE_INVALID"]);
    expect(await codeOf(await fetch(`${base}/refused/tags/list`))).toBe("NAME_UNKNOWN");
  });

  test("referrers, filtered by artifact type", async () => {
    const subject = await pushImage("referred", "1", "layer");
    const descriptor = { mediaType: mediaTypes.ociManifest, digest: subject.digest, size: subject.body.length };
    const signature = await pushImage("referred", "signature", "sig", {
      subject: descriptor,
      artifactType: "application/x-signature",
      annotations: { a: "b" },
    });
    await pushImage("referred", "sbom", "bill", { subject: descriptor, artifactType: "application/x-sbom" });
    const list = async (query: string): Promise<{ digest: string; artifactType: string; annotations?: object }[]> =>
      ((await (await fetch(`${base}/referred/referrers/${subject.digest}${query}`)).json()) as { manifests: [] }).manifests;
    expect(await list("")).toHaveLength(2);
    expect(await list("?artifactType=application/x-signature")).toMatchObject([
      { digest: signature.digest, artifactType: "application/x-signature", annotations: { a: "b" } },
    ]);
    const none = await fetch(`${base}/referred/referrers/${digestOf("nothing")}`);
    expect([none.status, ((await none.json()) as { manifests: [] }).manifests]).toEqual([200, []]);
  });
});

test("lists in pages", async () => {
  for (const tag of ["c", "a", "b"]) await pushImage("paged", tag, "layer");
  expect(await (await fetch(`${base}/paged/tags/list`)).json()).toEqual({ name: "paged", tags: ["a", "b", "c"] });
  const first = await fetch(`${base}/paged/tags/list?n=2`);
  expect(first.headers.get("link")).toBe('</v2/paged/tags/list?last=b&n=2>; rel="next"');
  expect(((await first.json()) as { tags: string[] }).tags).toEqual(["a", "b"]);
  expect(((await (await fetch(`${base}/paged/tags/list?last=b&n=2`)).json()) as { tags: string[] }).tags).toEqual(["c"]);
  expect(((await (await fetch(`${base}/paged/tags/list?n=0`)).json()) as { tags: string[] }).tags).toEqual([]);
  expect(await codeOf(await fetch(`${base}/paged/tags/list?n=-1`))).toBe("PAGINATION_NUMBER_INVALID");
  expect(((await (await fetch(`${base}/_catalog`)).json()) as { repositories: string[] }).repositories).toContain("paged");
});

test("a big body that is refused early still gets its answer, and methods that don't exist a 405", async () => {
  const refused = await fetch(`${base}/UPPER/blobs/uploads/`, { method: "POST", body: new Uint8Array(20 << 20) });
  expect([refused.status, await codeOf(refused)]).toEqual([400, "NAME_INVALID"]);
  const method = await fetch(`${base}/_catalog`, { method: "POST" });
  expect([method.status, await codeOf(method)]).toEqual([405, "UNSUPPORTED"]);
});

test("figures for Prometheus, with no name of a client's choice", async () => {
  await pushImage("measured", "1", "layer");
  await fetch(`${base}/measured/manifests/1`);
  await fetch(`${base}/measured/manifests/nope`);
  await fetch(`${base}/measured/tags/list`, { method: "OPTIONS" });
  const answer = await fetch(`http://127.0.0.1:${port}/metrics`);
  expect([answer.status, answer.headers.get("content-type")]).toEqual([200, "text/plain; version=0.0.4; charset=utf-8"]);
  const text = await answer.text();
  for (const line of [
    /^berth_registry_requests_total\{route="manifest",method="GET",code="200"\} [1-9]/m,
    /^berth_registry_requests_total\{route="manifest",method="GET",code="404"\} [1-9]/m,
    /^berth_registry_requests_total\{route="tags",method="other",code="405"\} 1$/m,
    /^berth_registry_request_seconds_count\{route="manifest"\} [1-9]/m,
    /^berth_registry_stored_bytes [1-9]/m,
    /^berth_registry_received_bytes_total [1-9]/m,
  ]) {
    expect(text).toMatch(line);
  }
  expect(text).not.toContain("measured");
});

test("after a restart all is there but unfinished uploads and bytes without a row", async () => {
  const image = await pushImage("durable", "1", "kept");
  const posted = await fetch(`${base}/durable/blobs/uploads/`, { method: "POST" });
  await fetch(at(posted.headers.get("location")), { method: "PATCH", body: "half" });
  const orphan = await push("durable", "orphan");
  store.db.query("DELETE FROM registry_blobs WHERE digest = ?").run(orphan);
  await stop();
  await start();
  expect(await (await fetch(`${base}/durable/manifests/1`)).text()).toBe(image.body);
  expect((await fetch(at(posted.headers.get("location")))).status).toBe(404);
  expect(await readdir(join(root, "content", "ingest"))).toEqual([]);
  expect(existsSync(join(root, "content", "blobs", "sha256", hexOf(orphan)))).toBe(false);
});

test("over TLS", async () => {
  const fixtures = join(import.meta.dir, "../../test/fixtures/tls");
  const [cert, key] = [readFileSync(join(fixtures, "cert.pem"), "utf8"), readFileSync(join(fixtures, "key.pem"), "utf8")];
  const folder = await mkdtemp(join(tmpdir(), "berth-registry-"));
  const own = openStore(join(folder, "registry.db"), registryMigrations);
  const content = createContentStore({ root: join(folder, "content"), store: own, log: silent });
  const secure = createRegistryServer({
    client: createRegistryClient({ insecure: [], mirrors: [], log: silent }),
    content,
    records: createRecords(own, content),
    log: silent,
    tls: { cert, key },
  });
  try {
    const address = await secure.listen({ port: 0 });
    const url = `https://localhost:${address.port}/v2`;
    expect((await fetch(`${url}/`, { tls: { ca: cert, rejectUnauthorized: true } })).status).toBe(200);
    const bytes = new Uint8Array(3 << 20).fill(5);
    const posted = await fetch(`${url}/a/blobs/uploads/?digest=${digestOf(bytes)}`, {
      method: "POST",
      body: bytes,
      tls: { ca: cert, rejectUnauthorized: true },
    });
    expect(posted.status).toBe(201);
    const got = await fetch(`${url}/a/blobs/${digestOf(bytes)}`, { tls: { ca: cert, rejectUnauthorized: true } });
    expect(digestOf(await got.bytes())).toBe(digestOf(bytes));
  } finally {
    await secure.close();
    own[Symbol.dispose]();
    removeRoot(folder);
  }
});
