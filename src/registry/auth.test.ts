import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createPrivateKey, generateKeyPairSync, sign, type KeyObject } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { removeRoot } from "../../test/remove-root.ts";
import { createContentStore } from "../content/content.ts";
import { createRegistryClient } from "../distribution/client.ts";
import { silent } from "../lib/log.ts";
import { digestOf } from "../oci/digest.ts";
import { openStore } from "../store/store.ts";
import type { AccessConfig } from "./access.ts";
import type { Auth } from "./guard.ts";
import { openPasswords } from "./htpasswd.ts";
import { readIssuerKeys } from "./issuer-keys.ts";
import { createRecords } from "./records.ts";
import { registryMigrations } from "./schema.ts";
import { createRegistryServer, openToAll, type RegistryServer } from "./server.ts";

let root: string;
let file: string;
let server: RegistryServer;
let base: string;
let stop: () => Promise<void>;
const secret = new Uint8Array(32).fill(7);
const config = "{}";

const hash = (password: string): string => Bun.password.hashSync(password, { algorithm: "bcrypt", cost: 4 }).replace("$2b$", "$2y$");
const basic = (user: string, password: string): Record<string, string> => ({
  authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`,
});
const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });
const codeOf = async (response: Response): Promise<string> => ((await response.json()) as { errors: { code: string }[] }).errors[0]!.code;
const settings = (auth: Auth, access?: AccessConfig): void => server.configure({ ...openToAll, auth, ...(access && { access }) });
const get = (path: string, headers: Record<string, string> = {}): Promise<Response> => fetch(`${base}${path}`, { headers });
const push = (name: string, headers: Record<string, string> = {}, query = ""): Promise<Response> =>
  fetch(`${base}/v2/${name}/blobs/uploads/?digest=${digestOf(config)}${query}`, { method: "POST", body: config, headers });

const access: AccessConfig = {
  groups: { developers: ["alice", "bob"] },
  rules: [
    { repositories: ["public/**"], allow: ["pull"], anonymous: true },
    { repositories: ["team/*"], allow: ["pull", "push"], groups: ["developers"] },
    { repositories: ["**"], allow: ["pull", "push", "delete"], users: ["root"] },
    { repositories: ["shared"], allow: ["pull"], users: ["*"] },
  ],
};

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "berth-registry-auth-"));
  file = join(root, "htpasswd");
  await writeFile(file, `# people\nalice:${hash("wonder")}\nroot:${hash("toor")}\ncarol:${hash("c")}\n\n`);
  const store = openStore(join(root, "registry.db"), registryMigrations);
  const content = createContentStore({ root: join(root, "content"), store, log: silent });
  server = createRegistryServer({
    client: createRegistryClient({ insecure: [], mirrors: [], log: silent }),
    content,
    records: createRecords(store, content),
    log: silent,
  });
  const { port } = await server.listen({ port: 0 });
  base = `http://127.0.0.1:${port}`;
  for (const name of ["public/a", "team/a", "shared", "secret/a"]) expect((await push(name)).status).toBe(201);
  stop = async () => {
    await server.close();
    store[Symbol.dispose]();
  };
});

afterAll(async () => {
  await stop();
  removeRoot(root);
});

describe("passwords", () => {
  test("let in, or not", async () => {
    settings({ kind: "basic", realm: "x", passwords: await openPasswords(file, silent) });
    const nobody = await get("/v2/");
    expect([nobody.status, nobody.headers.get("www-authenticate"), await codeOf(nobody)]).toEqual([401, 'Basic realm="x"', "UNAUTHORIZED"]);
    for (const wrong of [basic("alice", "other"), basic("alice", ""), basic("", ""), basic("mallory", "wonder"), { authorization: "Basic" }, bearer("x.y.z")]) {
      expect((await get("/v2/", wrong)).status).toBe(401);
    }
    for (let i = 0; i < 2; i++) expect((await get("/v2/", basic("alice", "wonder"))).status).toBe(200);
    expect((await get("/v2/", basic("alice", "wonder2"))).status).toBe(401);
    expect((await push("anything", basic("alice", "wonder"))).status).toBe(201);
    expect((await push("anything")).status).toBe(401);
    expect((await get("/v2/_catalog")).status).toBe(401);
    expect([(await get("/metrics")).status, (await get("/metrics", basic("alice", "wonder"))).status]).toEqual([401, 200]);
  });

  test("longer than 72 bytes are cut there, as by Apache's htpasswd", async () => {
    const long = join(root, "long");
    await writeFile(long, `a:${hash("x".repeat(72))}\n`);
    const passwords = await openPasswords(long, silent);
    expect(await passwords.verify("a", "x".repeat(100))).toBe(true);
    expect(await passwords.verify("a", "x".repeat(71))).toBe(false);
  });

  test("are read again when the file has changed; a bad one leaves the old in force", async () => {
    const changing = join(root, "changing");
    const replace = async (text: string): Promise<void> => {
      await writeFile(`${changing}.new`, text);
      await rename(`${changing}.new`, changing);
    };
    await replace(`alice:${hash("one")}\n`);
    const passwords = await openPasswords(changing, silent);
    expect(await passwords.verify("alice", "one")).toBe(true);
    await replace(`alice:${hash("two")}\n`);
    expect([await passwords.verify("alice", "one"), await passwords.verify("alice", "two")]).toEqual([false, true]);
    await replace("alice:{SHA}plain\n");
    expect(await passwords.verify("alice", "two")).toBe(true);
    await rm(changing);
    expect(await passwords.verify("alice", "two")).toBe(true);
    await replace("");
    expect(await passwords.verify("alice", "two")).toBe(false);
  });

  test("of a file that is no good are refused", async () => {
    const bad = join(root, "bad");
    await expect(openPasswords(bad, silent)).rejects.toThrow(/can't read the passwords/);
    await writeFile(bad, "alice:wonder\n");
    await expect(openPasswords(bad, silent)).rejects.toThrow(/line 1: want NAME:HASH/);
  });

  test("too many logins at once are put off", async () => {
    const passwords = await openPasswords(file, silent);
    const results = await Promise.allSettled(Array.from({ length: 150 }, (_, i) => passwords.verify("alice", `wrong ${i}`)));
    const put = results.filter((result) => result.status === "rejected").map(({ reason }) => (reason as { status: number }).status);
    expect(put.length).toBeGreaterThan(0);
    expect(new Set(put)).toEqual(new Set([429]));
  });
});

describe("rights", () => {
  test("by repository, with passwords", async () => {
    settings({ kind: "basic", realm: "x", passwords: await openPasswords(file, silent) }, access);
    const digest = digestOf(config);
    const rows: [user: Record<string, string>, name: string, pull: number, push: number, remove: number][] = [
      [{}, "public/a", 200, 401, 401],
      [{}, "team/a", 401, 401, 401],
      [basic("alice", "wonder"), "public/a", 200, 403, 403],
      [basic("alice", "wonder"), "team/a", 200, 201, 403],
      [basic("alice", "wonder"), "team/a/b", 403, 403, 403],
      [basic("alice", "wonder"), "secret/a", 403, 403, 403],
      [basic("carol", "c"), "team/a", 403, 403, 403],
      [basic("carol", "c"), "shared", 200, 403, 403],
      [basic("root", "toor"), "secret/a", 200, 201, 202],
    ];
    for (const [user, name, ...want] of rows) {
      const pulled = await get(`/v2/${name}/blobs/${digest}`, user);
      const pushed = await push(name, user);
      const removed = await fetch(`${base}/v2/${name}/blobs/${digest}`, { method: "DELETE", headers: user });
      expect({ name, user, got: [pulled.status, pushed.status, removed.status] }).toEqual({ name, user, got: want });
    }
    const denied = await get(`/v2/secret/a/blobs/${digest}`, basic("alice", "wonder"));
    expect(await codeOf(denied)).toBe("DENIED");
    await push("secret/a", basic("root", "toor"));
  });

  test("a mount needs the right to read where it comes from, also without a name", async () => {
    settings({ kind: "basic", realm: "x", passwords: await openPasswords(file, silent) }, access);
    const root = basic("root", "toor");
    const bytes = "only in secret";
    await fetch(`${base}/v2/secret/b/blobs/uploads/?digest=${digestOf(bytes)}`, { method: "POST", body: bytes, headers: root });
    const mount = (from: string, headers: Record<string, string>): Promise<Response> =>
      fetch(`${base}/v2/team/mount/blobs/uploads/?mount=${digestOf(bytes)}${from}`, { method: "POST", headers });
    for (const from of ["", "&from=secret/b"]) expect((await mount(from, basic("alice", "wonder"))).status).toBe(202);
    for (const from of ["", "&from=secret/b"]) expect((await mount(from, root)).status).toBe(201);
  });

  test("the catalog lists what may be pulled", async () => {
    settings({ kind: "basic", realm: "x", passwords: await openPasswords(file, silent) }, access);
    const list = async (user: Record<string, string>, query = ""): Promise<string[]> =>
      ((await (await get(`/v2/_catalog${query}`, user)).json()) as { repositories: string[] }).repositories;
    for (const name of ["public/a", "public/b", "team/a", "secret/a"]) {
      const manifest = JSON.stringify({ schemaVersion: 2, config: { digest: digestOf(config), size: 2 }, layers: [] });
      await push(name, basic("root", "toor"));
      const headers = { ...basic("root", "toor"), "content-type": "application/vnd.oci.image.manifest.v1+json" };
      expect((await fetch(`${base}/v2/${name}/manifests/1`, { method: "PUT", body: manifest, headers })).status).toBe(201);
    }
    expect(await list(basic("root", "toor"))).toEqual(["public/a", "public/b", "secret/a", "team/a"]);
    expect(await list(basic("alice", "wonder"))).toEqual(["public/a", "public/b", "team/a"]);
    expect(await list(basic("alice", "wonder"), "?n=1&last=public/b")).toEqual(["team/a"]);
    expect(await list(basic("carol", "c"))).toEqual(["public/a", "public/b"]);
  });
});

describe("the registry's own tokens", () => {
  const tokenFor = async (scope: string, user: Record<string, string> = {}): Promise<string> => {
    const response = await get(`/auth/token?service=berth-registry&scope=${encodeURIComponent(scope)}`, user);
    expect(response.status).toBe(200);
    return ((await response.json()) as { token: string }).token;
  };
  const claimsOf = (token: string): { access: object[]; sub: string } =>
    JSON.parse(Buffer.from(token.split(".")[1]!, "base64url").toString()) as { access: object[]; sub: string };

  test("are asked for with a scope, and give what the rules allow", async () => {
    settings({ kind: "own", passwords: await openPasswords(file, silent), secret, lifetimeSeconds: 300 }, access);
    const digest = digestOf(config);
    const refused = await get(`/v2/team/a/blobs/${digest}`);
    expect(refused.headers.get("www-authenticate")).toBe(`Bearer realm="${base}/auth/token",service="berth-registry",scope="repository:team/a:pull"`);
    const mounting = await fetch(`${base}/v2/team/a/blobs/uploads/?mount=${digest}&from=public/a`, { method: "POST" });
    expect(mounting.headers.get("www-authenticate")).toContain('scope="repository:team/a:pull,push repository:public/a:pull"');

    const alice = await tokenFor("repository:team/a:pull,push,delete repository:secret/a:pull", basic("alice", "wonder"));
    expect(claimsOf(alice)).toMatchObject({ sub: "alice", access: [{ type: "repository", name: "team/a", actions: ["pull", "push"] }] });
    expect((await get(`/v2/team/a/blobs/${digest}`, bearer(alice))).status).toBe(200);
    expect((await push("team/a", bearer(alice))).status).toBe(201);
    expect((await get("/v2/", bearer(alice))).status).toBe(200);
    // Hers by the rules, but not by this token.
    const other = await get(`/v2/public/a/blobs/${digest}`, bearer(alice));
    expect([other.status, other.headers.get("www-authenticate")]).toEqual([401, expect.stringContaining('error="insufficient_scope"')]);
    expect((await get(`/v2/secret/a/blobs/${digest}`, bearer(alice))).status).toBe(403);
    // Passwords do without.
    expect((await push("team/a", basic("alice", "wonder"))).status).toBe(201);
  });

  test("without a login give what everyone may do", async () => {
    settings({ kind: "own", passwords: await openPasswords(file, silent), secret, lifetimeSeconds: 300 }, access);
    const digest = digestOf(config);
    const nobody = await tokenFor("repository:public/a:pull,push");
    expect((await get("/v2/", bearer(nobody))).status).toBe(200);
    expect((await get(`/v2/public/a/blobs/${digest}`, bearer(nobody))).status).toBe(200);
    expect((await push("public/a", bearer(nobody))).status).toBe(401);
    expect(claimsOf(await tokenFor("repository:team/a:pull")).access).toEqual([]);
    const catalog = await get("/v2/_catalog", bearer(await tokenFor("registry:catalog:*")));
    expect(((await catalog.json()) as { repositories: string[] }).repositories.every((name) => name.startsWith("public/"))).toBe(true);
    expect((await get("/v2/_catalog", bearer(nobody))).status).toBe(401);
  });

  test("are refused when forged, changed, old, for another, or of a right that was taken back", async () => {
    const passwords = await openPasswords(file, silent);
    settings({ kind: "own", passwords, secret, lifetimeSeconds: 300 }, access);
    const good = await tokenFor("repository:team/a:pull", basic("alice", "wonder"));
    const [header, claims, signature] = good.split(".") as [string, string, string];
    const none = Buffer.from('{"alg":"none"}').toString("base64url");
    const greedy = Buffer.from(JSON.stringify({ ...claimsOf(good), sub: "root" })).toString("base64url");
    const expired = Buffer.from(JSON.stringify({ ...claimsOf(good), exp: 1 })).toString("base64url");
    const mac = (part: string): string => new Bun.CryptoHasher("sha256", secret).update(`${header}.${part}`).digest("base64url");
    const forgeries = [
      `${header}.${greedy}.${signature}`,
      `${none}.${claims}.`,
      `${none}.${claims}.${signature}`,
      `${header}.${expired}.${mac(expired)}`,
      "x",
      "a.b.c",
    ];
    for (const forged of forgeries) {
      const answer = await get("/v2/", bearer(forged));
      expect([answer.status, answer.headers.get("www-authenticate")]).toEqual([401, expect.stringContaining('error="invalid_token"')]);
    }
    expect((await get("/v2/", bearer(good))).status).toBe(200);
    settings({ kind: "own", passwords, secret, lifetimeSeconds: 300 }, { rules: [] });
    expect((await get(`/v2/team/a/blobs/${digestOf(config)}`, bearer(good))).status).toBe(403);
    settings({ kind: "own", passwords, secret: new Uint8Array(32), lifetimeSeconds: 300 }, access);
    expect((await get("/v2/", bearer(good))).status).toBe(401);
  });

  test("are not given for a wrong password", async () => {
    settings({ kind: "own", passwords: await openPasswords(file, silent), secret, lifetimeSeconds: 300 }, access);
    for (const wrong of [basic("alice", "x"), basic("mallory", "x")]) expect((await get("/auth/token", wrong)).status).toBe(401);
    expect((await get("/auth/token?service=elsewhere", basic("alice", "wonder"))).status).toBe(400);
    expect((await fetch(`${base}/auth/token`, { method: "POST", body: "grant_type=password" })).status).toBe(405);
  });

  test("name the realm as the client reaches it", async () => {
    settings({ kind: "own", passwords: await openPasswords(file, silent), secret, lifetimeSeconds: 300 });
    const realm = async (headers: Record<string, string>): Promise<string> =>
      /realm="([^"]+)"/.exec((await get("/v2/", headers)).headers.get("www-authenticate")!)![1]!;
    expect(await realm({ host: "registry.example.com" })).toBe("http://registry.example.com/auth/token");
    expect(await realm({ host: "registry.example.com", "x-forwarded-proto": "https" })).toBe("https://registry.example.com/auth/token");
  });
});

describe("tokens of an outside issuer", () => {
  const fixture = (name: string): string => readFileSync(join(import.meta.dir, "../../test/fixtures/tls", name), "utf8");
  const der = (pem: string): string => pem.replace(/-----[^-]+-----|\s/g, "");
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    iss: "https://issuer.example",
    aud: "registry.example",
    sub: "alice",
    exp: now + 300,
    access: [{ type: "repository", name: "team/a", actions: ["pull"] }],
  };
  const make = (key: KeyObject, header: Record<string, unknown>, said: object = claims): string => {
    const signed = [header, said].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
    const hash = header.alg === "EdDSA" ? null : "sha256";
    return `${signed}.${sign(hash, Buffer.from(signed), { key, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
  };
  const outside = (keys: Parameters<typeof readIssuerKeys>[0]): void =>
    settings({
      kind: "outside",
      realm: "https://issuer.example/token",
      service: "registry.example",
      issuer: "https://issuer.example",
      keys: readIssuerKeys(keys),
    });
  const status = async (token: string, path = `/v2/team/a/blobs/${digestOf(config)}`): Promise<number> => (await get(path, bearer(token))).status;

  test("by keys of a JWKS", async () => {
    const pairs = [
      { alg: "ES256", ...generateKeyPairSync("ec", { namedCurve: "P-256" }) },
      { alg: "RS256", ...generateKeyPairSync("rsa", { modulusLength: 2048 }) },
      { alg: "EdDSA", ...generateKeyPairSync("ed25519") },
    ];
    outside({ jwks: JSON.stringify({ keys: pairs.map(({ alg, publicKey }) => ({ ...(publicKey.export({ format: "jwk" }) as object), kid: alg })) }) });
    const asked = await get("/v2/team/a/tags/list");
    expect(asked.headers.get("www-authenticate")).toBe('Bearer realm="https://issuer.example/token",service="registry.example",scope="repository:team/a:pull"');
    for (const { alg, privateKey } of pairs) expect([alg, await status(make(privateKey, { alg, kid: alg }))]).toEqual([alg, 200]);
    const { privateKey } = pairs[0]!;
    const stranger = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
    const good = { alg: "ES256", kid: "ES256" };
    const refused: [what: string, token: string][] = [
      ["another's signature", make(stranger, good)],
      ["an unknown key", make(privateKey, { ...good, kid: "other" })],
      ["no key", make(privateKey, { alg: "ES256" })],
      ["another algorithm", make(privateKey, { ...good, alg: "ES384" })],
      ["a name of the prototype", make(privateKey, { ...good, alg: "constructor" })],
      ["a key of its own", make(stranger, { alg: "ES256", jwk: stranger.export({ format: "jwk" }) })],
      ["another issuer", make(privateKey, good, { ...claims, iss: "x" })],
      ["another service", make(privateKey, good, { ...claims, aud: ["x"] })],
      ["too old", make(privateKey, good, { ...claims, exp: now - 100 })],
      ["no end", make(privateKey, good, { ...claims, exp: undefined })],
      ["too early", make(privateKey, good, { ...claims, nbf: now + 1000 })],
      ["another repository", make(privateKey, good, { ...claims, access: [{ type: "repository", name: "team/b", actions: ["pull"] }] })],
      ["another action", make(privateKey, good, { ...claims, access: [{ type: "repository", name: "team/a", actions: ["push"] }] })],
      ["access of nonsense", make(privateKey, good, { ...claims, access: [null, 5, { type: "repository" }] })],
      ["HMAC with the public key", "x"],
    ];
    for (const [what, token] of refused) expect([what, await status(token)]).toEqual([what, 401]);
    expect(
      await status(
        make(privateKey, good, { ...claims, aud: ["a", "registry.example"], access: [{ type: "registry", name: "catalog", actions: ["*"] }] }),
        "/v2/_catalog",
      ),
    ).toBe(200);
  });

  test("by certificates: the bundle's own key by its id, and a chain that it signed", async () => {
    outside({ rootCertificates: fixture("ca.pem") });
    const key = createPrivateKey(fixture("server-key.pem"));
    const alg = key.asymmetricKeyType === "rsa" ? "RS256" : "ES256";
    expect(await status(make(key, { alg, x5c: [der(fixture("server-cert.pem"))] }))).toBe(200);
    expect(await status(make(key, { alg, x5c: [der(fixture("server-cert.pem")), der(fixture("ca.pem"))] }))).toBe(200);
    expect(await status(make(createPrivateKey(fixture("stranger-key.pem")), { alg, x5c: [der(fixture("stranger-cert.pem"))] }))).toBe(401);
    expect(await status(make(createPrivateKey(fixture("stranger-key.pem")), { alg, x5c: [der(fixture("server-cert.pem"))] }))).toBe(401);
    for (const x5c of [[], ["nonsense"], [5]]) expect(await status(make(key, { alg, x5c }))).toBe(401);

    outside({ rootCertificates: fixture("server-cert.pem") });
    // libtrust's id of the key: openssl x509 -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | head -c 60 | xxd -r -p | base32 | fold -w 4 | paste -sd:
    const kid = "WBYY:LF7N:KC2E:UDMV:SH6X:QSOE:N6PS:4ZIX:IFMV:665C:GT7L:DPOU";
    expect(await status(make(key, { alg, kid }))).toBe(200);
  });

  test("no keys, or bad ones, are refused", () => {
    expect(() => readIssuerKeys({})).toThrow(/no public key/);
    expect(() => readIssuerKeys({ jwks: "{" })).toThrow(/jwks: /);
    expect(() => readIssuerKeys({ jwks: '{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}' })).toThrow(/jwks: /);
    expect(() => readIssuerKeys({ rootCertificates: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----" })).toThrow(/rootcertbundle: /);
  });
});
