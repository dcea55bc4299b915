import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tarOf } from "../../src/lib/tar-writer.ts";
import { skipped } from "../skips.ts";
import { Engine, type LaunchOptions } from "./harness.ts";

/** A registry that no name server knows: reached by a proxy, or not at all. */
const far = "registry.example:5000";
const server = join(import.meta.dir, "proxy-server.ts");

/** An engine with an image in a registry of its loopback, and a proxy there. */
async function start(flags: string[], env: Record<string, string> = {}, user?: string): Promise<{ engine: Engine; asked: () => string[] } & AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const launch: LaunchOptions = { env: { HTTP_PROXY: "", http_proxy: "", HTTPS_PROXY: "", https_proxy: "", NO_PROXY: "", no_proxy: "", ...env } };
  const engine = stack.use(await Engine.start(["--insecure-registry", far, ...flags], undefined, launch));
  const log = join(engine.root, "proxy.log");
  const proxy = Bun.spawn([...engine.onHost, process.execPath, server, "3128", log, ...(user === undefined ? [] : [user])], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  stack.defer(async () => {
    proxy.kill();
    await proxy.exited;
  });
  stack.use(await engine.registry());
  // its first word: it listens
  await proxy.stdout.getReader().read();
  writeFileSync(join(engine.root, "app.tar"), tarOf([{ name: "file", type: "file", body: Buffer.from("text") }]));
  await engine.ok("import", join(engine.root, "app.tar"), "app");
  const asked = (): string[] => {
    const lines = existsSync(log)
      ? readFileSync(log, "utf8")
          .split("\n")
          .filter((line) => line !== "")
      : [];
    rmSync(log, { force: true });
    return lines;
  };
  const owned = stack.move();
  return { engine, asked, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

describe.skipIf(skipped("root", "overlay", "docker"))("proxies", () => {
  const proxy = "http://127.0.0.1:3128";

  test.each([
    ["the environment", [], { HTTP_PROXY: proxy, NO_PROXY: "elsewhere.example" }],
    ["the environment, in small letters", [], { http_proxy: proxy, no_proxy: "elsewhere.example" }],
    ["flags over the environment", ["--http-proxy", proxy, "--no-proxy", "elsewhere.example"], { http_proxy: "http://127.0.0.1:1", no_proxy: far }],
  ])("set by %s lead to other hosts, never to loopback", async (_how, flags, env) => {
    await using lab = await start(flags, env);
    const { engine, asked } = lab;
    for (const host of ["127.0.0.1:5000", "localhost:5000"]) {
      await engine.ok("tag", "app", `${host}/app`);
      await engine.ok("push", `${host}/app`);
      await engine.ok("pull", `${host}/app`);
    }
    expect(asked()).toEqual([]);
    await engine.ok("pull", `${far}/app`);
    expect(asked()).toContain(`GET http://${far}/v2/ HTTP/1.1`);
  });

  test("with a user: the password goes to the proxy alone, and what fails there is told", async () => {
    const flags = (address: string): string[] => ["--http-proxy", address, "--https-proxy", address];
    await using lab = await start(flags("http://me:p%40ss%2Fword@127.0.0.1:3128"), {}, "me:p@ss/word");
    const { engine } = lab;
    await engine.ok("tag", "app", `${far}/app`);
    await engine.ok("push", `${far}/app`);
    await engine.ok("pull", `${far}/app`);
    const other = await engine.docker(["pull", "other.example/app"]);
    expect(other.stderr).toContain(
      'Get "https://other.example/v2/app/manifests/latest": proxyconnect: the proxy does not lead to other.example: 502 Bad Gateway',
    );
    const info = await (await engine.api("GET", "/info")).text();
    expect(info).toContain("http://xxxxx:xxxxx@127.0.0.1:3128");
    for (const text of [info, engine.log(), other.stderr]) expect(text).not.toMatch(/p(?:@|%40)ss/);
  });

  test("that want another password, or can't be reached, are named", async () => {
    await using lab = await start(["--http-proxy", "http://me:wrong@127.0.0.1:3128", "--https-proxy", "http://me:wrong@127.0.0.1:3128"], {}, "me:right");
    const { engine } = lab;
    for (const host of [far, "other.example"]) expect((await engine.docker(["pull", `${host}/app`])).stderr).toContain("Proxy Authentication Required");
    expect(engine.log()).not.toContain("wrong");
  });

  test("that nobody serves are named", async () => {
    await using engine = await Engine.start(["--https-proxy", "http://me:secret@127.0.0.1:9"]);
    const { stderr } = await engine.docker(["pull", "other.example/app"]);
    expect(stderr).toContain("connection refused");
    expect(stderr).toContain("127.0.0.1:9");
    expect(stderr + engine.log()).not.toContain("secret");
  });
});
