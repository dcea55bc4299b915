import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { once } from "node:events";
import type { AddressInfo, Server } from "node:net";
import { createServer as createSecureServer } from "node:https";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { kindOf, messageOf } from "../lib/errors.ts";
import { silent } from "../lib/log.ts";
import { digestOf } from "../oci/digest.ts";
import { mediaTypes, type Descriptor } from "../oci/image.ts";
import { parseReference } from "../oci/reference.ts";
import { createRegistryClient, type RegistryClientOptions } from "./client.ts";
import { pullError } from "./errors.ts";
import { inspectRemote } from "./inspect.ts";
import { send } from "./transport.ts";
import type { Credentials, RegistryClient, RemoteRepository } from "./types.ts";

/** Registries that lie, hang and break off, as small servers on loopback. */

type Handler = (request: IncomingMessage, response: ServerResponse) => unknown;

const manifest = JSON.stringify({
  schemaVersion: 2,
  mediaType: mediaTypes.ociManifest,
  config: { mediaType: mediaTypes.ociConfig, digest: digestOf("{}"), size: 2 },
  layers: [],
});
const manifestType = { "content-type": mediaTypes.ociManifest };
const blob = Buffer.alloc(1 << 20, "0123456789abcdef");
const descriptor: Descriptor = { mediaType: mediaTypes.ociLayer, digest: digestOf(blob), size: blob.length };

let servers: Server[];
let client: RegistryClient;
let requests: string[];

/** A client of its own kind. The servers here are in the same process, which on a busy host says nothing for a while: only what is silent meets a short patience. */
const clientWith = (options: Partial<RegistryClientOptions> = {}): RegistryClient =>
  createRegistryClient({ insecure: [], mirrors: [], certificates: [], retryDelay: 1, log: silent, ...options });
const patienceFor = (what: string): { stallTimeout?: number } => (what.startsWith("silence") ? { stallTimeout: 800 } : {});

beforeEach(() => {
  servers = [];
  requests = [];
  client = clientWith();
});

afterEach(() => {
  for (const server of servers) {
    server.close();
    (server as ReturnType<typeof createServer>).closeAllConnections();
  }
});

async function serve(handler: Handler): Promise<string> {
  const server = createServer((request, response) => {
    response.on("error", () => undefined);
    if (request.url === "/v2/") return void response.end("{}");
    requests.push(`${request.method} ${request.url} ${request.headers.range ?? ""}`.trimEnd());
    handler(request, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  servers.push(server);
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function repository(handler: Handler, credentials?: Credentials): Promise<RemoteRepository> {
  const host = await serve(handler);
  return client.repository(parseReference(`${host}/x:1`), credentials === undefined ? {} : { credentials });
}

const failure = async (work: Promise<unknown>): Promise<{ kind: string; text: string }> =>
  await work.then(
    () => ({ kind: "none", text: "" }),
    (error: unknown) => ({ kind: kindOf(error), text: messageOf(error) }),
  );

function memory(): { sink: { write(chunk: Uint8Array): Promise<void>; readonly written: number }; bytes: () => Buffer } {
  const chunks: Uint8Array[] = [];
  let written = 0;
  const write = (chunk: Uint8Array): Promise<void> => {
    chunks.push(chunk.slice());
    written += chunk.length;
    return Promise.resolve();
  };
  return {
    sink: {
      write,
      get written() {
        return written;
      },
    },
    bytes: () => Buffer.concat(chunks),
  };
}

/** Writes until the other side has had enough. */
function endless(response: ServerResponse, chunk: Uint8Array): void {
  const more = (): void => {
    while (!response.destroyed && response.write(chunk));
    if (!response.destroyed) response.once("drain", more);
  };
  more();
}

describe("manifests", () => {
  test("by tag: bytes, digest, type", async () => {
    const remote = await repository((_request, response) => response.writeHead(200, manifestType).end(manifest));
    const found = await remote.manifest("1");
    expect(found.descriptor).toEqual({ mediaType: mediaTypes.ociManifest, digest: digestOf(manifest), size: manifest.length });
    expect(Buffer.from(found.bytes).toString()).toBe(manifest);
  });

  test("compressed on the way all the same", async () => {
    const remote = await repository((_request, response) => response.writeHead(200, { ...manifestType, "content-encoding": "gzip" }).end(gzipSync(manifest)));
    expect((await remote.manifest("1")).descriptor.digest).toBe(digestOf(manifest));
  });

  const rows: [what: string, handler: Handler, version: string, text: RegExp][] = [
    [
      "another digest than asked for",
      (_q, r) => (r as ServerResponse).writeHead(200, manifestType).end(manifest),
      digestOf("other"),
      /manifest verification failed for digest sha256:/,
    ],
    [
      "another digest than the header says",
      (_q, r) => (r as ServerResponse).writeHead(200, { ...manifestType, "docker-content-digest": digestOf("x") }).end(manifest),
      "1",
      /manifest verification failed/,
    ],
    ["5 MiB", (_q, r) => (r as ServerResponse).writeHead(200, manifestType).end(Buffer.alloc(5 << 20, " ")), "1", /longer than 4194304 bytes/],
    ["no end", (_q, r) => endless((r as ServerResponse).writeHead(200, manifestType), Buffer.alloc(65536, " ")), "1", /longer than 4194304 bytes/],
    [
      "a compression bomb",
      (_q, r) => (r as ServerResponse).writeHead(200, { ...manifestType, "content-encoding": "gzip" }).end(gzipSync(Buffer.alloc(100 << 20))),
      "1",
      /longer than 4194304 bytes/,
    ],
    ["a web page", (_q, r) => (r as ServerResponse).writeHead(200, { "content-type": "text/html" }).end("<html>"), "1", /is no JSON/],
    ["the wrong type", (_q, r) => (r as ServerResponse).writeHead(200, { "content-type": mediaTypes.ociIndex }).end(manifest), "1", /calls the manifest/],
    ["a redirect to itself", (q, r) => (r as ServerResponse).writeHead(307, { location: q.url! }).end(), "1", /stopped after 10 redirects/],
    ["a redirect to a file", (_q, r) => (r as ServerResponse).writeHead(307, { location: "file:///etc/passwd" }).end(), "1", /refused a redirect to "file:/],
    ["a redirect to nowhere", (_q, r) => (r as ServerResponse).writeHead(307, { location: "http://" }).end(), "1", /refused a redirect/],
    ["silence", () => undefined, "1", /the registry sent nothing for 0.8 seconds/],
    ["silence after the head", (_q, r) => (r as ServerResponse).writeHead(200, manifestType).write(" "), "1", /the registry sent nothing for 0.8 seconds/],
    ["a rate limit that lasts", (_q, r) => (r as ServerResponse).writeHead(429, { "retry-after": "3600" }).end(), "1", /^toomanyrequests: /],
    ["a refusal without end", (_q, r) => endless((r as ServerResponse).writeHead(404), Buffer.alloc(65536, " ")), "1", /longer than 65536 bytes/],
  ];
  for (const [what, handler, version, text] of rows) {
    test(what, async () => {
      client = clientWith(patienceFor(what));
      const { text: told } = await failure((await repository(handler)).manifest(version));
      expect(told).toMatch(text);
    });
  }

  test("a moment's failure is tried again", async () => {
    let n = 0;
    const remote = await repository((request, response) => {
      n++;
      if (n === 1) response.writeHead(503).end();
      else if (n === 2) request.socket.destroy();
      else response.writeHead(200, manifestType).end(manifest);
    });
    expect((await remote.manifest("1")).descriptor.digest).toBe(digestOf(manifest));
    expect(n).toBe(3);
  });

  test("what isn't there isn't asked for twice", async () => {
    const remote = await repository((_request, response) =>
      response.writeHead(404).end(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`),
    );
    expect(await failure(remote.manifest("1"))).toEqual({ kind: "notFound", text: "manifest unknown: manifest unknown" });
    expect(requests).toHaveLength(1);
  });

  test("nobody listens", async () => {
    const host = await serve(() => undefined);
    servers.pop()!.close();
    const { kind, text } = await failure(client.repository(parseReference(`${host}/x`)).manifest("1"));
    expect(kind).toBe("unavailable");
    expect(text).toBe(`Get "http://${host}/v2/": dial tcp ${host}: connect: connection refused`);
  });
});

describe("blobs", () => {
  const fetchBlob = async (remote: RemoteRepository, signal?: AbortSignal): Promise<Buffer> => {
    const { sink, bytes } = memory();
    await remote.blob(descriptor, sink, signal === undefined ? {} : { signal });
    return bytes();
  };

  test("whole, and from where a redirect leads", async () => {
    const store = await serve((_request, response) => response.end(blob));
    const remote = await repository((_request, response) => response.writeHead(307, { location: `http://${store}/data` }).end());
    expect(await fetchBlob(remote)).toEqual(blob);
  });

  test("a lost connection is taken up where it broke", async () => {
    const remote = await repository((request, response) => {
      const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
      const part = blob.subarray(start, start + 400_000);
      const end = start + part.length;
      response.writeHead(start === 0 ? 200 : 206, {
        "content-length": blob.length - start,
        ...(start > 0 && { "content-range": `bytes ${start}-${blob.length - 1}/${blob.length}` }),
      });
      if (end === blob.length) response.end(part);
      else response.write(part, () => request.socket.destroy());
    });
    expect(await fetchBlob(remote)).toEqual(blob);
    expect(requests.length).toBeGreaterThan(2);
    expect(requests.slice(1).every((line) => /bytes=[1-9]\d*-$/.test(line))).toBe(true);
  });

  test("a registry that knows no ranges sends it again from the start", async () => {
    let n = 0;
    const remote = await repository((request, response) => {
      response.writeHead(200, { "content-length": blob.length });
      if (n++ > 0) response.end(blob);
      else response.write(blob.subarray(0, 300_000), () => request.socket.destroy());
    });
    expect(await fetchBlob(remote)).toEqual(blob);
  });

  test("Content-Encoding is not believed: the digest covers the bytes as stored", async () => {
    const remote = await repository((_request, response) => response.writeHead(200, { "content-encoding": "gzip" }).end(blob));
    expect(await fetchBlob(remote)).toEqual(blob);
  });

  const rows: [what: string, handler: Handler, text: RegExp][] = [
    ["more than announced", (_q, r) => endless(r, Buffer.alloc(65536)), /sends more than the 1048576 bytes/],
    [
      "a length that isn't the manifest's",
      (_q, r) => r.writeHead(200, { "content-length": blob.length + 1 }).end(Buffer.alloc(blob.length + 1)),
      /sends 1048577 bytes/,
    ],
    ["always too short", (_q, r) => (r.writeHead(200), r.end(blob.subarray(0, 10))), /unexpected EOF after 10 of 1048576 bytes|sends more/],
    ["a range that wasn't asked for", (_q, r) => r.writeHead(206, { "content-range": "bytes 5-9/10" }).end("56789"), /answered a range/],
    ["silence in the middle", (_q, r) => r.writeHead(200).write(blob.subarray(0, 10)), /the registry sent nothing for 0.8 seconds/],
  ];
  for (const [what, handler, text] of rows) {
    test(what, async () => {
      client = clientWith({ downloadRetries: () => 2, ...patienceFor(what) });
      const { sink } = memory();
      const { kind, text: told } = await failure((await repository(handler)).blob(descriptor, sink));
      expect(told).toMatch(text);
      expect(kind).toBe("unavailable");
      expect(sink.written).toBeLessThanOrEqual(blob.length);
    });
  }

  test("the sink's pace is the download's", async () => {
    const size = 64 << 20;
    let sent = 0;
    const remote = await repository((_request, response) => {
      const more = (): void => {
        while (sent < size && !response.destroyed) {
          sent += 65536;
          if (!response.write(Buffer.alloc(65536))) return void response.once("drain", more);
        }
        response.end();
      };
      more();
    });
    const { promise: opened, resolve: open } = Promise.withResolvers<void>();
    let written = 0;
    const sink = {
      get written() {
        return written;
      },
      write: async (chunk: Uint8Array) => {
        if (written === 0) await opened;
        written += chunk.length;
      },
    };
    const done = remote.blob({ ...descriptor, size }, sink);
    let before = -1;
    while (sent !== before) {
      before = sent;
      await Bun.sleep(100);
    }
    expect(sent).toBeLessThan(size / 2);
    open();
    await done;
    expect(written).toBe(size);
  });

  test("stops at once when it is cancelled", async () => {
    const controller = new AbortController();
    const remote = await repository((_request, response) => {
      response.writeHead(200).write(blob.subarray(0, 1000));
      setImmediate(() => controller.abort());
    });
    expect((await failure(fetchBlob(remote, controller.signal))).kind).toBe("cancelled");
    expect(requests).toHaveLength(1);
  });
});

describe("credentials", () => {
  const basic = `Basic ${Buffer.from("user:pass:word").toString("base64")}`;
  const user: Credentials = { username: "user", password: "pass:word" };

  test("Basic, in all the forms that clients send", async () => {
    for (const credentials of [user, { auth: Buffer.from("user:pass:word").toString("base64") }]) {
      const remote = await repository((request, response) => {
        if (request.headers.authorization === basic) response.writeHead(200, manifestType).end(manifest);
        else response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
      }, credentials);
      await remote.manifest("1");
      await remote.manifest("1");
      expect(requests.splice(0)).toHaveLength(3);
    }
  });

  test("wrong ones end in unauthorized after one more try", async () => {
    const remote = await repository((_request, response) => response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end(), user);
    expect(await failure(remote.manifest("1"))).toEqual({ kind: "unauthorized", text: "unauthorized: authentication required" });
    expect(requests).toHaveLength(2);
  });

  test("none where a password is asked for", async () => {
    const remote = await repository((_request, response) => response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end());
    const { kind, text } = await failure(remote.manifest("1"));
    expect(kind).toBe("unauthorized");
    expect(text).toMatch(/^Get "http:\/\/[^"]+\/manifests\/1": no basic auth credentials$/);
    // no 401 to the client: it would make docker commands ask for a name
    expect(kindOf(pullError(await remote.manifest("1").catch((error: unknown) => error), remote.reference))).toBe("permissionDenied");
  });

  test("token flow: scope, service and account; one token for many requests", async () => {
    const asked: URL[] = [];
    const tokens = await serve((request, response) => {
      asked.push(new URL(request.url!, "http://x"));
      expect(request.headers.authorization).toBe(basic);
      response.end(JSON.stringify({ token: "good", expires_in: 60 }));
    });
    const remote = await repository((request, response) => {
      if (request.headers.authorization === "Bearer good") response.writeHead(200, manifestType).end(manifest);
      else response.writeHead(401, { "www-authenticate": `Bearer realm="http://${tokens}/token",service="reg",scope="ignored"` }).end();
    }, user);
    await Promise.all([remote.manifest("1"), remote.manifest("2"), remote.manifest("3")]);
    expect(asked).toHaveLength(1);
    expect(Object.fromEntries(asked[0]!.searchParams)).toEqual({ service: "reg", scope: "repository:x:pull", account: "user" });
  });

  test("an identity token is exchanged by POST; a registry token is used as it is", async () => {
    let form = "";
    const tokens = await serve((request, response) => {
      expect(request.method).toBe("POST");
      request.on("data", (chunk: Buffer) => (form += chunk.toString()));
      request.on("end", () => response.end(JSON.stringify({ access_token: "good" })));
    });
    const handler: Handler = (request, response) => {
      if (request.headers.authorization === "Bearer good") response.writeHead(200, manifestType).end(manifest);
      else response.writeHead(401, { "www-authenticate": `Bearer realm="http://${tokens}/token",service="reg"` }).end();
    };
    await (await repository(handler, { identitytoken: "refresh" })).manifest("1");
    expect(Object.fromEntries(new URLSearchParams(form))).toEqual({
      service: "reg",
      grant_type: "refresh_token",
      refresh_token: "refresh",
      client_id: "docker",
      scope: "repository:x:pull",
    });
    await (await repository(handler, { registrytoken: "good" })).manifest("1");
  });

  test("an expired token is renewed once", async () => {
    let issued = 0;
    const tokens = await serve((_request, response) => response.end(JSON.stringify({ token: `t${++issued}` })));
    const remote = await repository((request, response) => {
      if (request.headers.authorization === "Bearer t2" || (request.headers.authorization === "Bearer t1" && requests.length < 4))
        response.writeHead(200, manifestType).end(manifest);
      else response.writeHead(401, { "www-authenticate": `Bearer realm="http://${tokens}/",service="reg",error="invalid_token"` }).end();
    });
    await remote.manifest("1");
    await remote.manifest("1");
    await remote.manifest("1");
    expect(issued).toBe(2);
  });

  test("they don't follow a redirect to another host", async () => {
    const seen: (string | undefined)[] = [];
    const elsewhere = await serve((request, response) => {
      seen.push(request.headers.authorization);
      response.end(blob);
    });
    const remote = await repository((request, response) => {
      if (request.headers.authorization === basic) response.writeHead(302, { location: `http://${elsewhere}/data` }).end();
      else response.writeHead(401, { "www-authenticate": "Basic" }).end();
    }, user);
    const { sink } = memory();
    await remote.blob(descriptor, sink);
    expect(seen).toEqual([undefined]);
  });

  const badTokens: [what: string, answer: (response: ServerResponse) => unknown, text: RegExp][] = [
    ["no JSON", (response) => response.end("<html>"), /answered no JSON/],
    ["no token", (response) => response.end("{}"), /did not include a token/],
    ["a token with a line break", (response) => response.end(JSON.stringify({ token: "a\r\nX-Evil: 1" })), /did not include a token/],
    ["no end", (response) => endless(response, Buffer.alloc(65536, " ")), /longer than 262144 bytes/],
    [
      "a refusal",
      (response) => response.writeHead(401).end(JSON.stringify({ details: "incorrect username or password" })),
      /^Get "http:\/\/[^"]+\/token": unauthorized: incorrect username or password$/,
    ],
  ];
  for (const [what, answer, text] of badTokens) {
    test(`a token server that answers ${what}`, async () => {
      const tokens = await serve((_request, response) => answer(response));
      const remote = await repository(
        (_request, response) => response.writeHead(401, { "www-authenticate": `Bearer realm="http://${tokens}/token"` }).end(),
        user,
      );
      expect((await failure(remote.manifest("1"))).text).toMatch(text);
    });
  }

  test("a token server that is no address", async () => {
    const remote = await repository((_request, response) => response.writeHead(401, { "www-authenticate": 'Bearer realm="file:///etc/passwd"' }).end(), user);
    expect((await failure(remote.manifest("1"))).text).toMatch(/token server that isn't reached over https/);
  });

  test("login", async () => {
    const server = createServer((request, response) => {
      if (request.headers.authorization === basic) response.end("{}");
      else response.writeHead(401, { "www-authenticate": "Basic" }).end();
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    servers.push(server);
    const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    expect(await client.login(address, user)).toEqual({});
    expect((await failure(client.login(address, { username: "user", password: "no" }))).kind).toBe("unauthorized");
    expect((await failure(client.login("not a host", user))).kind).toBe("invalidArgument");
  });
});

describe("mirrors", () => {
  test("serve docker.io, without its password", async () => {
    const seen: (string | undefined)[] = [];
    const mirror = await serve((request, response) => {
      seen.push(request.headers.authorization);
      if (request.url!.includes("/blobs/")) response.end(blob);
      else response.writeHead(200, manifestType).end(manifest);
    });
    client = clientWith({ mirrors: [`http://${mirror}`] });
    const remote = client.repository(parseReference("busybox:1"), { credentials: { username: "user", password: "secret" } });
    expect((await remote.manifest("1")).descriptor.digest).toBe(digestOf(manifest));
    await remote.blob(descriptor, memory().sink);
    expect(requests).toEqual(["GET /v2/library/busybox/manifests/1", `GET /v2/library/busybox/blobs/${descriptor.digest}`]);
    expect(seen).toEqual([undefined, undefined]);
  });

  const mirrored = (host: string, ...mirrors: string[]): RemoteRepository => {
    const mirrorsOf = { [host]: mirrors.map((mirror) => `http://${mirror}`) };
    client = clientWith({ mirrorsOf });
    return client.repository(parseReference(`${host}/x:1`));
  };

  test("of any registry; what one lacks comes from the next, and a blob that one breaks off goes on there", async () => {
    const host = await serve((request, response) => {
      if (!request.url!.includes("/blobs/")) return response.writeHead(200, manifestType).end(manifest);
      const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1]);
      return response.writeHead(206, { "content-range": `bytes ${start}-${blob.length - 1}/${blob.length}` }).end(blob.subarray(start));
    });
    const empty = await serve((_request, response) => response.writeHead(404).end());
    const half = await serve((request, response) => {
      if (!request.url!.includes("/blobs/")) return response.writeHead(200, manifestType).end(manifest);
      return response.writeHead(200, { "content-length": blob.length }).write(blob.subarray(0, 600_000), () => request.socket.destroy());
    });
    const remote = mirrored(host, empty, half);
    await remote.manifest("1");
    const { sink, bytes } = memory();
    await remote.blob(descriptor, sink);
    expect(bytes()).toEqual(blob);
    expect(requests.filter((line) => line.includes("/blobs/")).at(-1)).toMatch(/bytes=[1-9]\d*-$/);
  });

  test("that can't be reached isn't asked again for a while; where all fail, each is named", async () => {
    const host = await serve((_request, response) => response.writeHead(404).end());
    const remote = mirrored(host, "127.0.0.1:1");
    const told = (await failure(remote.manifest("1"))).text;
    expect(told).toContain("404");
    expect(told).toContain('(mirror http://127.0.0.1:1: Get "http://127.0.0.1:1/v2/x/manifests/1": dial tcp 127.0.0.1:1: connect: connection refused)');
    expect((await failure(client.repository(parseReference(`${host}/x:1`)).manifest("1"))).text).not.toContain("mirror");
  });

  test("serve a registry that can't be reached", async () => {
    const mirror = await serve((_request, response) => response.writeHead(200, manifestType).end(manifest));
    const remote = mirrored("127.0.0.1:1", mirror);
    expect((await remote.manifest("1")).descriptor.digest).toBe(digestOf(manifest));
    expect((await failure(mirrored("127.0.0.1:1", "127.0.0.1:2").manifest("1"))).text).toMatch(/127.0.0.1:1: connect.*\(mirror http:\/\/127.0.0.1:2: /);
  });

  test("of all registries are told which one is meant", async () => {
    const mirror = await serve((_request, response) => response.writeHead(200, manifestType).end(manifest));
    const mirrorsOf = { "*": [`http://${mirror}`] };
    client = clientWith({ mirrorsOf });
    await client.repository(parseReference("quay.io/x:1")).manifest("1");
    expect(requests).toEqual(["GET /v2/x/manifests/1?ns=quay.io"]);
  });
});

describe("TLS", () => {
  const fixtures = join(import.meta.dir, "../../test/fixtures/tls");
  const cert = readFileSync(join(fixtures, "cert.pem"), "utf8");
  const key = readFileSync(join(fixtures, "key.pem"), "utf8");
  let address: string;
  beforeEach(async () => {
    const server = createSecureServer({ cert, key }, (request, response) => {
      if (request.url === "/v2/") response.end("{}");
      else response.writeHead(200, manifestType).end(manifest);
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    servers.push(server);
    address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  test("loopback may show any certificate", async () => {
    expect((await client.repository(parseReference(`${address}/x`)).manifest("1")).descriptor.digest).toBe(digestOf(manifest));
  });

  test("elsewhere only one that is trusted", async () => {
    const request = { method: "GET", url: `https://${address}/v2/`, stallTimeout: 30_000 } as const;
    expect((await failure(send(request))).text).toMatch(/tls: failed to verify certificate/);
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
    try {
      expect((await failure(send(request))).text).toMatch(/tls: failed to verify certificate/);
    } finally {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    }
    using answer = await send({ ...request, tls: { insecure: false, ca: [cert] } });
    expect(answer.status).toBe(200);
  });

  test("certificates of a registry's folder that can't be used are told", async () => {
    const { privateKey } = generateKeyPairSync("ec", {
      namedCurve: "P-256",
      privateKeyEncoding: { type: "pkcs8", format: "pem" },
      publicKeyEncoding: { type: "spki", format: "pem" },
    });
    for (const tls of [{ ca: [cert, "junk"] }, { ca: [cert], cert, key: privateKey }]) {
      const { text } = await failure(send({ method: "GET", url: `https://${address}/v2/`, stallTimeout: 30_000, tls: { insecure: false, ...tls } }));
      expect(text).toContain("tls: the registry's folder in certs.d has a *.crt that is no certificate in PEM, or a client's NAME.cert and NAME.key");
    }
  });

  test("a registry that asks for a client's certificate", async () => {
    const server = createSecureServer({ cert, key, ca: [cert], requestCert: true, rejectUnauthorized: true }, (_request, response) => response.end("{}"));
    servers.push(server.listen(0, "127.0.0.1"));
    await once(server, "listening");
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/v2/`;
    const request = { method: "GET", url, stallTimeout: 30_000 } as const;
    expect((await failure(send({ ...request, tls: { insecure: false, ca: [cert] } }))).text).toContain(
      "it asks for a client's certificate: NAME.cert and NAME.key",
    );
    using answer = await send({ ...request, tls: { insecure: false, ca: [cert], cert, key } });
    expect(answer.status).toBe(200);
  });

  test("plain http behind https is named", async () => {
    const plain = await serve(() => undefined);
    expect((await failure(send({ method: "GET", url: `https://${plain}/v2/`, stallTimeout: 30_000 }))).text).toMatch(
      /server gave HTTP response to HTTPS client/,
    );
  });
});

describe("tags", () => {
  test("through all pages; one that pages for ever ends", async () => {
    const paged = await repository((request, response) => {
      const first = !request.url!.includes("last=");
      response
        .writeHead(200, first ? { link: '</v2/x/tags/list?last=b&n=2>; rel="next"' } : {})
        .end(JSON.stringify({ name: "x", tags: first ? ["a", "b"] : ["c", 5, "../x"] }));
    });
    expect(await paged.tags()).toEqual(["a", "b", "c"]);
    requests = [];
    const looping = await repository((request, response) => response.writeHead(200, { link: `<${request.url}>; rel="next"` }).end(`{"tags":["a"]}`));
    expect(await looping.tags()).toEqual(["a"]);
    expect(requests).toHaveLength(2);
  });
});

describe("inspection without a pull", () => {
  const config = JSON.stringify({ os: "linux", architecture: "arm64", variant: "v8", rootfs: {} });
  const image = JSON.stringify({ schemaVersion: 2, config: { mediaType: mediaTypes.ociConfig, digest: digestOf(config), size: config.length }, layers: [] });

  test("a single image says its platform in its config", async () => {
    const remote = await repository((request, response) =>
      request.url!.includes("/blobs/") ? response.end(config) : response.writeHead(200, manifestType).end(image),
    );
    const { descriptor: found, platforms } = await inspectRemote(remote, "1");
    expect([found.digest, platforms]).toEqual([digestOf(image), [{ os: "linux", architecture: "arm64", variant: "v8" }]]);
  });

  test("an index lists them; a config that lies is refused", async () => {
    const platform = { os: "linux", architecture: "s390x" };
    const index = JSON.stringify({ schemaVersion: 2, manifests: [{ mediaType: mediaTypes.ociManifest, digest: digestOf("x"), size: 1, platform }] });
    const listed = await repository((_request, response) => response.writeHead(200, { "content-type": mediaTypes.ociIndex }).end(index));
    expect((await inspectRemote(listed, "1")).platforms).toEqual([platform]);
    const lying = await repository((request, response) =>
      request.url!.includes("/blobs/") ? response.end(config.replace("arm64", "amd64")) : response.writeHead(200, manifestType).end(image),
    );
    expect((await failure(inspectRemote(lying, "1"))).text).toMatch(/verification failed for digest/);
  });
});

describe("uploads", () => {
  const source = {
    digest: descriptor.digest,
    size: blob.length,
    open: ({ start, end }: { start: number; end: number }) => new Blob([blob.subarray(start, end)]).stream(),
  };
  const read = async (request: IncomingMessage): Promise<Buffer> => Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>));

  /** A registry that keeps what arrives, and answers as the spec says but where `on` does. `on` returns true once it has answered. */
  const keeping = (on: (request: IncomingMessage, response: ServerResponse, kept: Map<string, Buffer>) => unknown) => {
    const kept = new Map<string, Buffer>();
    const done: Buffer[] = [];
    const handler: Handler = async (request, response) => {
      const { pathname, searchParams } = new URL(request.url!, "http://x");
      const at = { location: pathname, range: `0-${Math.max(0, (kept.get(pathname)?.length ?? 0) - 1)}` };
      if (request.method === "POST") {
        const path = `${pathname}${kept.size}`;
        kept.set(path, Buffer.alloc(0));
        return response.writeHead(202, { location: path }).end();
      }
      if ((await on(request, response, kept)) === true) return undefined;
      const have = kept.get(pathname);
      if (have === undefined) return response.writeHead(404).end();
      if (request.method === "GET") return response.writeHead(204, at).end();
      if (request.method === "PUT") {
        const whole = Buffer.concat([have, await read(request)]);
        if (digestOf(whole) !== searchParams.get("digest")) return response.writeHead(400).end();
        done.push(whole);
        kept.delete(pathname);
        return response.writeHead(201).end();
      }
      const range = request.headers["content-range"];
      if (range !== undefined && Number(range.split("-")[0]) !== have.length) return response.writeHead(416, at).end();
      kept.set(pathname, Buffer.concat([have, await read(request)]));
      return response.writeHead(202, { location: pathname, range: `0-${kept.get(pathname)!.length - 1}` }).end();
    };
    return { handler, done };
  };
  const third = Math.floor(blob.length / 3);

  test("sent again as a whole after a failure, with a length, where the registry can't tell how far it came", async () => {
    let n = 0;
    const lengths: (string | undefined)[] = [];
    const remote = await repository(async (request, response) => {
      if (request.method === "GET" || request.method === "HEAD") return response.writeHead(404).end();
      if (request.method === "POST") return response.writeHead(202, { location: `${request.url}id-${++n}?state=a%20b` }).end();
      lengths.push(request.headers["content-length"]);
      if (n === 1) return response.writeHead(500).end();
      expect((await read(request)).length).toBe(blob.length);
      expect([request.method, request.url]).toEqual(["PUT", `/v2/x/blobs/uploads/id-2?state=a+b&digest=${encodeURIComponent(descriptor.digest)}`]);
      return response.writeHead(201).end();
    });
    const seen: number[] = [];
    await remote.upload(source, { onProgress: (bytes) => void seen.push(bytes) });
    expect(lengths).toEqual([String(blob.length), String(blob.length)]);
    expect(seen.at(-1)).toBe(blob.length);
  });

  test("goes on where the registry stands after a lost connection", async () => {
    const ranges: (string | undefined)[] = [];
    const { handler, done } = keeping((request, _response, kept) => {
      if (request.method !== "PATCH" && (request.method !== "PUT" || request.headers["content-length"] === "0")) return false;
      ranges.push(request.headers["content-range"]);
      if (ranges.length > 2) return false;
      const { pathname } = new URL(request.url!, "http://x");
      const have = kept.get(pathname)!;
      kept.set(pathname, Buffer.concat([have, blob.subarray(have.length, have.length + third)]));
      request.socket.destroy();
      return true;
    });
    const remote = await repository(handler);
    await remote.upload(source);
    const end = blob.length - 1;
    expect(ranges).toEqual([undefined, `${third}-${end}`, `${2 * third}-${end}`]);
    expect(done).toEqual([blob]);
    expect(requests.filter((line) => line.startsWith("POST"))).toHaveLength(1);
  });

  test("one that was cancelled is gone on with by the next push", async () => {
    const stop = new AbortController();
    let first = true;
    const { handler, done } = keeping((request, _response, kept) => {
      if (request.method !== "PUT" || !first) return false;
      first = false;
      kept.set(new URL(request.url!, "http://x").pathname, blob.subarray(0, third));
      stop.abort();
      return true;
    });
    const host = await serve(handler);
    const remote = (): RemoteRepository => client.repository(parseReference(`${host}/x:1`), { push: true });
    expect((await failure(remote().upload(source, { signal: stop.signal }))).kind).toBe("cancelled");
    await remote().upload(source);
    expect(done).toEqual([blob]);
    expect(requests.filter((line) => line.startsWith("POST"))).toHaveLength(1);
    // nothing is left of it for another one
    await remote().upload(source);
    expect(requests.filter((line) => line.startsWith("POST"))).toHaveLength(2);
  });

  test("parts that don't fit together are sent once more from the start", async () => {
    let n = 0;
    const { handler, done } = keeping((request, _response, kept) => {
      if (request.method !== "PUT" || n++ > 0) return false;
      kept.set(new URL(request.url!, "http://x").pathname, Buffer.from("something else"));
      request.socket.destroy();
      return true;
    });
    const remote = await repository(handler);
    await remote.upload(source);
    expect(done).toEqual([blob]);
    expect(requests.filter((line) => line.startsWith("POST"))).toHaveLength(2);
  });

  test("a registry that is still busy with the lost request is waited for", async () => {
    let n = 0;
    const { handler, done } = keeping((request, response, kept) => {
      if (!["PUT", "PATCH"].includes(request.method!) || ++n > 3) return false;
      const { pathname } = new URL(request.url!, "http://x");
      kept.set(pathname, blob.subarray(0, n * 1000));
      if (n === 1) request.socket.destroy();
      else response.writeHead(n === 2 ? 409 : 416, { connection: "close" }).end();
      return true;
    });
    const remote = await repository(handler);
    await remote.upload(source);
    expect(done).toEqual([blob]);
    expect(requests.filter((line) => line.startsWith("POST"))).toHaveLength(1);
  });

  test("where only the last answer was lost, nothing is sent again", async () => {
    let stored = false;
    const { handler } = keeping((request, response) => {
      if (request.method === "PUT") {
        stored = true;
        request.socket.destroy();
        return true;
      }
      if (!stored) return false;
      response.writeHead(request.method === "HEAD" ? 200 : 404).end();
      return true;
    });
    await (await repository(handler)).upload(source);
    expect(requests.filter((line) => line.startsWith("PUT"))).toHaveLength(1);
  });

  test("a proxy that refuses long requests gets shorter ones", async () => {
    const big = Buffer.alloc(12 << 20, "x");
    const lengths: number[] = [];
    const { handler, done } = keeping((request, response) => {
      if (!["PUT", "PATCH"].includes(request.method!) || request.headers["content-length"] === "0") return false;
      lengths.push(Number(request.headers["content-length"]));
      if (lengths.at(-1)! <= 6 << 20) return false;
      response.writeHead(413, { connection: "close" }).end("<html>");
      return true;
    });
    const remote = await repository(handler);
    await remote.upload({ digest: digestOf(big), size: big.length, open: ({ start, end }) => new Blob([big.subarray(start, end)]).stream() });
    expect(lengths).toEqual([12 << 20, 6 << 20, 6 << 20]);
    expect(done).toEqual([big]);
    const always = await repository((request, response) => {
      if (request.method === "POST") response.writeHead(202, { location: `${request.url}id` }).end();
      else response.writeHead(413, { connection: "close" }).end();
    });
    expect((await failure(always.upload(source))).text).toMatch(/413 Request Entity Too Large/);
  });

  const rows: [what: string, handler: Handler, text: RegExp][] = [
    ["no location", (_q, r) => r.writeHead(202).end(), /answer has no Location/],
    ["a location that is a file", (_q, r) => r.writeHead(202, { location: "file:///etc/x" }).end(), /refused an upload to file:/],
    ["a refusal", (_q, r) => r.writeHead(403).end(), /^denied: requested access to the resource is denied$/],
  ];
  for (const [what, handler, text] of rows) test(what, async () => expect((await failure((await repository(handler)).upload(source))).text).toMatch(text));

  test("a mount that isn't taken is not an error, and its upload is cancelled", async () => {
    const remote = await repository((request, response) => {
      if (request.method === "POST") response.writeHead(202, { location: "/v2/x/blobs/uploads/id" }).end();
      else response.writeHead(204).end();
    });
    expect(await remote.mount(descriptor.digest, "other")).toBe(false);
    expect(requests).toEqual([`POST /v2/x/blobs/uploads/?mount=${encodeURIComponent(descriptor.digest)}&from=other`, "DELETE /v2/x/blobs/uploads/id"]);
  });
});
