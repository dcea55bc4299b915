import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { tarOf } from "../../src/lib/tar-writer.ts";
import parameters from "../fixtures/image-parameters.json" with { type: "json" };
import { skipped } from "../skips.ts";
import { berth, Engine, run } from "./harness.ts";
import { foreign, multiPlatform, own } from "./multi-platform.ts";

/**
 * Every parameter that the endpoints of images and /system/df have in the Engine API 1.55 (test/fixtures/image-parameters.json), and what becomes of it:
 * its effect is seen here (`shows`) or in the test named (`seenIn`), or it means nothing, with the reason. One of a later version fails this test until it
 * stands here.
 */

type Json = Record<string, unknown>;
interface Row {
  of: string[];
  shows?: (api: Api) => Promise<void>;
  seenIn?: [file: string, test: string];
  meansNothing?: string;
}
interface Api {
  get<T = Json>(path: string): Promise<T>;
  /** The body of a POST or DELETE: its JSON, or its lines where it is a stream of them. */
  send(method: "POST" | "DELETE", path: string, options?: { body?: Uint8Array; headers?: Record<string, string> }): Promise<Json[]>;
  names(query: string): Promise<string[]>;
}

const platformsTest = "test/e2e/platforms.test.ts";
const byClients: [string, string] = [platformsTest, "pulled one after the other, run, shown and removed by the platform"];
const byVersion: [string, string] = [platformsTest, "parameters by version, and what is refused"];
const of = (endpoint: string, ...names: string[]): string[] => names.map((name) => `${endpoint} ${name}`);
const filters = (value: Json): string => `filters=${encodeURIComponent(JSON.stringify(value))}`;
const rootfs = tarOf([{ name: "word", type: "file", body: "imported" }]);
const auth = (password: string): Record<string, string> => ({
  "x-registry-auth": Buffer.from(JSON.stringify({ username: "me", password })).toString("base64url"),
});

const rows: Row[] = [
  {
    of: of("GET /images/json", "all"),
    shows: async ({ names, get }) => {
      const count = async (query: string): Promise<number> => (await get<Json[]>(`/images/json?${query}`)).length;
      expect(await names("")).toContain("child:1");
      expect(await count("all=1")).toBe((await count("")) + 1);
    },
  },
  {
    of: of("GET /images/json", "filters.before", "filters.since", "filters.until", "filters.reference", "filters.label", "filters.dangling"),
    shows: async ({ names }) => {
      expect(await names(filters({ before: ["old:1"] }))).toEqual([]);
      expect(await names(filters({ since: ["multi:1"] }))).not.toContain("multi:1");
      expect(await names(filters({ since: { "old:1": true }, reference: ["multi"] }))).toEqual(["multi:1"]);
      expect(await names(filters({ until: ["2020-01-01"], reference: ["old"] }))).toEqual(["old:1"]);
      expect(await names(filters({ until: ["2020-01-01"], reference: ["multi"] }))).toEqual([]);
      expect(await names(filters({ reference: ["docker.io/library/mul*"] }))).toEqual(["multi:1"]);
      expect(await names(filters({ label: [`arch=${foreign}`] }))).toEqual(["multi:1"]);
      expect(await names(filters({ label: ["arch", "none"] }))).toEqual([]);
      expect(await names(filters({ dangling: ["true"] }))).toEqual([]);
      expect(await names(filters({ dangling: ["false"], reference: ["multi:1"] }))).toEqual(["multi:1"]);
    },
  },
  {
    of: of("GET /images/json", "shared-size"),
    shows: async ({ get }) => {
      const shared = async (query: string): Promise<number[]> => (await get<{ SharedSize: number }[]>(`/images/json?${query}`)).map((each) => each.SharedSize);
      expect(new Set(await shared(""))).toEqual(new Set([-1]));
      expect((await shared("shared-size=1")).some((size) => size > 0)).toBe(true);
    },
  },
  { of: of("GET /images/json", "digests"), meansNothing: "RepoDigests are always told, as by Docker's engines of all ages" },
  {
    of: of("GET /images/json", "manifests", "identity"),
    shows: async ({ get }) => {
      const find = async (query: string): Promise<Json> => (await get<Json[]>(`/images/json?${filters({ reference: ["127.0.0.1:5001/*/*"] })}&${query}`))[0]!;
      expect(await find("")).not.toHaveProperty("Manifests");
      const identity = async (query: string): Promise<unknown> => ((await find(query))["Manifests"] as { ImageData: Json }[])[0]!.ImageData["Identity"];
      expect(await identity("manifests=1")).toBeUndefined();
      expect(await identity("manifests=1&identity=1")).toEqual({ Pull: [{ Repository: "127.0.0.1:5001/team/word" }] });
    },
  },
  {
    of: of("POST /images/create", "fromSrc", "repo", "tag", "message", "changes", "platform"),
    shows: async ({ get, send }) => {
      const query = `fromSrc=-&repo=imported&tag=a&message=hello&changes=${encodeURIComponent("ENV A=b")}&changes=${encodeURIComponent("CMD x")}&platform=linux/s390x`;
      const lines = await send("POST", `/images/create?${query}`, { body: rootfs });
      expect(lines.at(-1)).toMatchObject({ status: expect.stringMatching(/^sha256:/) as never });
      const made = await get("/images/imported:a/json");
      expect(made).toMatchObject({ Comment: "hello", Architecture: "s390x", Config: { Env: ["A=b"], Cmd: ["/bin/sh", "-c", "x"] } });
      expect((await send("POST", "/images/create?fromSrc=http://127.0.0.1:1/x"))[0]).toMatchObject({
        message: expect.stringContaining("can't import from http://127.0.0.1:1/x") as never,
      });
      expect((await send("POST", "/images/create"))[0]).toMatchObject({ message: "either fromImage or fromSrc must be given" });
      expect((await send("POST", "/images/create?fromSrc=-&platform=no%2Fsuch%2Fplat%2Fform", { body: rootfs }))[0]).toMatchObject({
        message: expect.stringContaining("invalid platform") as never,
      });
      await send("DELETE", "/images/imported:a");
    },
  },
  {
    of: [...of("POST /images/create", "fromImage", "X-Registry-Auth"), ...of("POST /images/{name}/push", "tag", "X-Registry-Auth")],
    shows: async ({ send, get }) => {
      const image = "127.0.0.1:5001/team/word";
      await send("POST", `/images/old:1/tag?repo=${image}&tag=two`);
      expect((await send("POST", `/images/${image}/push?tag=two`, { headers: auth("wrong") })).at(-1)).toHaveProperty("error");
      expect((await send("POST", `/images/${image}/push?tag=two`, { headers: auth("secret") })).at(-1)).toMatchObject({ aux: { Tag: "two" } });
      await send("DELETE", `/images/${image}:two`);
      expect((await send("POST", `/images/create?fromImage=${image}&tag=two`, { headers: auth("wrong") }))[0]).toHaveProperty("message");
      expect((await send("POST", `/images/create?fromImage=${image}&tag=two`, { headers: auth("secret") })).at(-1)).toEqual({
        status: `Status: Downloaded newer image for ${image}:two`,
      });
      expect(await get(`/images/${image}:two/json`)).toMatchObject({ Identity: { Pull: [{ Repository: image }] } });
    },
  },
  { of: of("GET /images/{name}/json", "manifests", "platform"), seenIn: byVersion },
  { of: of("GET /images/{name}/attestations", "platform", "type", "statement"), seenIn: byVersion },
  { of: [...of("GET /images/{name}/history", "platform"), ...of("GET /images/get", "platform"), ...of("POST /images/load", "platform")], seenIn: byClients },
  { of: of("POST /images/{name}/push", "platform"), seenIn: [platformsTest, "is pushed whole where it is here whole, else the one that suits this host"] },
  { of: of("GET /images/{name}/get", "platform"), seenIn: byVersion },
  {
    of: of("POST /images/{name}/tag", "repo", "tag"),
    shows: async ({ send, names }) => {
      expect(await send("POST", "/images/old:1/tag?repo=named/so&tag=x")).toEqual([]);
      expect(await send("POST", "/images/old:1/tag?repo=named/so")).toEqual([]);
      expect(await names(filters({ reference: ["named/so"] }))).toEqual(["named/so:latest", "named/so:x"]);
      for (const [query, message] of [
        ["", "no repository was given"],
        ["repo=UPPER", "must be lowercase"],
        ["repo=x&tag=b!d", "invalid tag format"],
        ["repo=sha256&tag=abc", "ambiguous tag"],
      ]) {
        expect((await send("POST", `/images/old:1/tag?${query}`))[0]).toMatchObject({ message: expect.stringContaining(message!) as never });
      }
      for (const tag of ["x", "latest"]) expect(await send("DELETE", `/images/named/so:${tag}`)).toEqual([{ Untagged: `named/so:${tag}` }]);
    },
  },
  {
    of: of("DELETE /images/{name}", "force", "noprune"),
    shows: async ({ send, get }) => {
      const parent = (await get<{ Parent: string }>("/images/child:1/json")).Parent;
      const id = (await get<{ Id: string }>("/images/child:1/json")).Id;
      await send("POST", `/images/child:1/tag?repo=other&tag=1`);
      expect((await send("DELETE", `/images/${id}`))[0]).toMatchObject({ message: expect.stringContaining("must be forced") as never });
      const gone = await send("DELETE", `/images/${id}?force=1&noprune=1`);
      expect(gone.slice(0, 3)).toEqual([{ Untagged: "child:1" }, { Untagged: "other:1" }, { Deleted: id }]);
      expect(await get(`/images/${parent}/json`)).toMatchObject({ Id: parent });
    },
  },
  { of: of("DELETE /images/{name}", "platforms"), seenIn: byClients },
  { of: of("GET /images/search", "term"), seenIn: [platformsTest, "the registry's repositories can be searched"] },
  { of: of("GET /images/search", "filters.stars", "filters.is-official", "limit"), seenIn: byVersion },
  {
    of: of("POST /images/prune", "filters.dangling", "filters.until", "filters.label", "filters.label!"),
    shows: async ({ send, names }) => {
      const prune = async (value: Json): Promise<Json> => (await send("POST", `/images/prune?${filters(value)}`))[0]!;
      const nothing = { ImagesDeleted: null, SpaceReclaimed: 0 };
      expect(await prune({ dangling: ["0"], label: ["none"] })).toEqual(nothing);
      expect(await prune({ dangling: ["0"], "label!": ["arch", "old"], until: ["2021-01-01"] })).toEqual(nothing);
      expect(await prune({ dangling: ["x"] })).toMatchObject({ message: expect.stringContaining("invalid filter 'dangling=[x]'") as never });
      expect(await prune({ dangling: ["0"], label: ["arch"] })).toMatchObject({ SpaceReclaimed: expect.any(Number) as never });
      expect(await names(filters({ reference: ["multi"] }))).toEqual([]);
      expect(await names(filters({ reference: ["old"] }))).toEqual(["old:1"]);
    },
  },
  {
    of: of("GET /system/df", "type", "verbose"),
    shows: async ({ get }) => {
      expect(Object.keys(await get("/system/df?type=image&type=volume&verbose=1"))).toEqual(["ImageUsage", "VolumeUsage"]);
      const { ImageUsage: usage } = await get<{ ImageUsage: { TotalCount: number; TotalSize: number; Items: { Size: number }[] } }>("/system/df?verbose=1");
      expect(usage.Items).toHaveLength(usage.TotalCount);
      expect(usage.TotalSize).toBeGreaterThan(0);
      expect((await get<{ ImageUsage: Json }>("/system/df")).ImageUsage).not.toHaveProperty("Items");
      expect(await get("/system/df?type=x")).toEqual({ message: "unknown object type: x" });
    },
  },
  {
    of: of("GET /images/get", "names"),
    shows: async ({ get }) => {
      expect(await get("/images/get")).toEqual({ message: "no images were named to save" });
      expect(await get("/images/get?names=old:1&names=none")).toEqual({ message: "No such image: none:latest" });
    },
  },
  {
    of: of("POST /images/load", "quiet"),
    shows: async ({ send }) => {
      const layer = tarOf([{ name: "word", type: "file", body: "loaded" }]);
      const archive = tarOf([
        { name: "c.json", type: "file", body: JSON.stringify({ os: "linux", architecture: own, rootfs: { type: "layers", diff_ids: [digest(layer)] } }) },
        { name: "l.tar", type: "file", body: layer },
        { name: "manifest.json", type: "file", body: JSON.stringify([{ Config: "c.json", RepoTags: ["loaded:1"], Layers: ["l.tar"] }]) },
      ]);
      expect(await send("POST", "/images/load?quiet=1", { body: archive })).toEqual([{ stream: "Loaded image: loaded:1\n" }]);
      await send("DELETE", "/images/loaded:1");
      expect((await send("POST", "/images/load?quiet=0", { body: archive }))[0]).toMatchObject({ status: "Loading layer" });
      await send("DELETE", "/images/loaded:1");
    },
  },
];

function digest(bytes: Uint8Array): string {
  return `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
}

test("every parameter of image endpoints in the API stands in the table, once", () => {
  expect(rows.flatMap((row) => row.of).sort()).toEqual([...parameters].sort());
});

test("tests that the table names are there", () => {
  for (const { seenIn } of rows)
    if (seenIn !== undefined) expect(readFileSync(resolve(import.meta.dir, "../..", seenIn[0]), "utf8")).toContain(JSON.stringify(seenIn[1]));
});

describe.skipIf(skipped("root", "overlay", "docker"))("image endpoints", async () => {
  if (skipped("root", "overlay", "docker")) return;
  const engine = await Engine.start();
  const password = join(engine.root, "htpasswd");
  writeFileSync(password, `me:${await Bun.password.hash("secret", { algorithm: "bcrypt", cost: 4 })}\n`);
  const registry = Bun.spawn(
    [...engine.onHost, berth, "registry", "serve", "--root", join(engine.root, "registry"), "--addr", "127.0.0.1:5001", "--htpasswd", password],
    { stdio: ["ignore", "ignore", "ignore"] },
  );
  afterAll(async () => {
    registry.kill("SIGTERM");
    await registry.exited;
    await engine[Symbol.asyncDispose]();
  });

  const api: Api = {
    get: async <T>(path: string) => (await (await engine.api("GET", `/v1.55${path}`)).json()) as T,
    send: async (method, path, { body, headers } = {}) => {
      const answer = await fetch(`http://engine/v1.55${path}`, {
        unix: engine.socket,
        method,
        ...(body && { body }),
        ...(headers && { headers }),
      } as RequestInit);
      const text = await answer.text();
      return text
        .split("\n")
        .filter(Boolean)
        .flatMap((line): Json[] => [JSON.parse(line) as Json | Json[]].flat());
    },
    names: async (query) => (await api.get<{ RepoTags: string[] }[]>(`/images/json?${query}`)).flatMap(({ RepoTags }) => RepoTags).sort(),
  };

  test("start", async () => {
    await api.send("POST", "/images/load", { body: multiPlatform("docker.io/library/multi:1", [own, foreign]).archive });
    const config = { os: "linux", architecture: own, created: "2019-01-01T00:00:00Z", config: { Labels: { old: "" } } };
    const old = tarOf([
      { name: "c.json", type: "file", body: JSON.stringify({ ...config, rootfs: { type: "layers", diff_ids: [digest(rootfs)] } }) },
      { name: "l.tar", type: "file", body: rootfs },
      { name: "manifest.json", type: "file", body: JSON.stringify([{ Config: "c.json", RepoTags: ["old:1"], Layers: ["l.tar"] }]) },
    ]);
    await api.send("POST", "/images/load", { body: old });
    const context = tarOf([{ name: "Dockerfile", type: "file", body: "FROM multi:1\nENV A=1\nENV B=2\n" }]);
    await api.send("POST", "/build?t=child:1", { body: context });
    for (let i = 0; i < 200; i++) {
      if ((await run([...engine.onHost, "busybox", "nc", "-z", "127.0.0.1", "5001"])).code === 0) break;
      await Bun.sleep(20);
    }
  });

  // The registry's image first, since others look at it; what removes images last.
  const late = (row: Row): number => (row.of[0]!.includes("fromImage") ? 0 : row.of[0]!.startsWith("POST /images/prune") ? 2 : 1);
  for (const { of: names, shows } of rows.toSorted((a, b) => late(a) - late(b))) {
    if (shows !== undefined) test(`${names[0]!.split(" ").slice(0, 2).join(" ")}: ${names.map((name) => name.split(" ").at(-1)).join(", ")}`, () => shows(api));
  }
});
