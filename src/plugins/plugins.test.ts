import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startPlugin, type TestPlugin } from "../../test/plugin/start.ts";
import { silent } from "../lib/log.ts";
import { findPlugin, listPlugins } from "./discovery.ts";
import { createPlugins } from "./plugins.ts";
import type { Plugins } from "./types.ts";

describe("where plugins are", () => {
  let root: string;
  beforeEach(() => void (root = mkdtempSync(join(tmpdir(), "berth-specs-"))));
  afterEach(() => rmSync(root, { recursive: true }));
  const folders = (): Parameters<typeof findPlugin>[0] => ({ sockets: join(root, "none"), specs: [root, join(root, "second")] });

  test("specs name addresses", () => {
    writeFileSync(join(root, "one.spec"), "tcp://127.0.0.1:9000\n");
    mkdirSync(join(root, "two"));
    writeFileSync(join(root, "two/two.spec"), "unix:///run/two.sock");
    writeFileSync(
      join(root, "three.json"),
      JSON.stringify({ Name: "three", Addr: "https://h:1/path", TLSConfig: { CAFile: "/ca", CertFile: "/c", KeyFile: "/k" } }),
    );
    writeFileSync(join(root, "other.txt"), "x");
    expect(listPlugins(folders())).toEqual(["one", "three", "two"]);
    expect(findPlugin(folders(), "one")).toEqual({ kind: "tcp", url: "http://127.0.0.1:9000" });
    expect(findPlugin(folders(), "two")).toEqual({ kind: "unix", path: "/run/two.sock" });
    expect(findPlugin(folders(), "three")).toEqual({ kind: "tcp", url: "https://h:1", tls: { insecure: false, ca: "/ca", cert: "/c", key: "/k" } });
    expect(findPlugin(folders(), "four")).toBeUndefined();
  });

  test.each(["../one", "a/b", "", ".", "..", "x\0", "a b"])("%j is no plugin's name", (name) => {
    writeFileSync(join(root, "one.spec"), "tcp://127.0.0.1:9000");
    expect(findPlugin({ sockets: join(root, "x"), specs: [join(root, "x"), root] }, name)).toBeUndefined();
  });

  test.each(["", "127.0.0.1:1", "ftp://x", "unix://", "unix://relative", "tcp://", "http://a b"])("a spec that says %j is refused", (text) => {
    writeFileSync(join(root, "bad.spec"), text);
    expect(() => findPlugin(folders(), "bad")).toThrow("names no address");
  });

  test("so is one that is no JSON, or is large", () => {
    writeFileSync(join(root, "bad.json"), "{");
    expect(() => findPlugin(folders(), "bad")).toThrow("can't be read");
    writeFileSync(join(root, "large.json"), " ".repeat(1 << 20));
    expect(() => findPlugin(folders(), "large")).toThrow("is too large");
  });
});

describe("calls", () => {
  let plugin: TestPlugin;
  let plugins: Plugins;
  beforeEach(async () => {
    plugin = await startPlugin();
    plugins = createPlugins({ folders: { sockets: plugin.folder, specs: [] }, log: silent, times: { callMs: 20_000, retryMs: 5000 } });
  });
  afterEach(() => plugin[Symbol.asyncDispose]());

  test("the handshake comes once", async () => {
    expect(plugins.known("VolumeDriver")).toEqual([]);
    const found = await plugins.get("tested", "VolumeDriver");
    expect(await plugins.get("tested", "NetworkDriver")).toBe(found);
    expect(plugin.calls("Plugin.").length).toBe(1);
    expect(plugins.known("VolumeDriver")).toEqual(["tested"]);
    expect((await plugins.all("VolumeDriver")).plugins).toEqual([found]);
  });

  test("who isn't there or does something else is said so", async () => {
    await expect(plugins.get("other", "VolumeDriver")).rejects.toThrow('plugin "other" not found');
    plugin.fault("Plugin.Activate", { status: 200, body: '{"Implements":["authz", 5]}' });
    await expect(plugins.get("tested", "VolumeDriver")).rejects.toThrow('plugin "tested" does not implement the requested driver (VolumeDriver)');
  });

  test("errors in their three forms", async () => {
    const found = await plugins.get("tested", "VolumeDriver");
    const call = (): Promise<unknown> => found.call("VolumeDriver.Path", { Name: "x" });
    await expect(found.call("VolumeDriver.Get", { Name: "missing" })).rejects.toThrow(/^no such volume$/);
    plugin.fault("VolumeDriver.Path", { status: 500, body: '{"Err":"boom"}' });
    await expect(call()).rejects.toThrow(/^VolumeDriver.Path: boom$/);
    plugin.fault("VolumeDriver.Path", { status: 404, body: "404 page not found" });
    await expect(call()).rejects.toThrow(/^VolumeDriver.Path: 404 page not found$/);
  });

  test.each(["", "nothing", "[]", "null", "7", '"x"', "{"])("an answer that is %j is refused", async (body) => {
    const found = await plugins.get("tested", "VolumeDriver");
    plugin.fault("VolumeDriver.Path", { status: 200, body });
    await expect(found.call("VolumeDriver.Path", {})).rejects.toThrow(/the plugin's answer is no JSON/);
  });

  test("an answer without an end is cut off, one that doesn't come isn't waited for", async () => {
    const found = await plugins.get("tested", "VolumeDriver");
    plugin.fault("VolumeDriver.Path", "flood");
    await expect(found.call("VolumeDriver.Path", {})).rejects.toThrow("longer than 4194304 bytes");
    plugin.fault("VolumeDriver.Path", "hang");
    await expect(found.call("VolumeDriver.Path", {}, { deadlineMs: 200 })).rejects.toThrow("did not answer within 0.2 s");
  });

  test("one that hangs is waited for once by who asks for nobody in particular, until it is asked for by name", async () => {
    plugins = createPlugins({ folders: { sockets: plugin.folder, specs: [] }, log: silent, times: { callMs: 200, retryMs: 5000 } });
    plugin.fault("Plugin.Activate", "hang");
    const first = await plugins.all("VolumeDriver");
    expect(first.warnings).toEqual([expect.stringContaining("did not answer within 0.2 s")]);
    expect(await plugins.all("VolumeDriver")).toEqual(first);
    expect(plugin.calls("Plugin.").length).toBe(1);
    await expect(plugins.get("tested", "VolumeDriver")).rejects.toThrow("did not answer within 0.2 s");
    expect(plugin.calls("Plugin.").length).toBe(2);
    plugin.fault("Plugin.Activate", undefined);
    const found = await plugins.get("tested", "VolumeDriver");
    expect(await plugins.all("VolumeDriver")).toEqual({ plugins: [found], warnings: [] });
  });

  test("one that is being restarted is waited for", async () => {
    const found = await plugins.get("tested", "VolumeDriver");
    await plugin.stop();
    expect(existsSync(join(plugin.folder, "tested.sock"))).toBe(false);
    const answer = (await plugins.get("tested", "VolumeDriver")).call("VolumeDriver.Capabilities", {});
    await plugin.start();
    expect(await answer).toEqual({ Capabilities: { Scope: "global" } });
    await plugin.stop();
    await expect(found.call("VolumeDriver.Capabilities", {}, { retry: false })).rejects.toThrow("can't be reached at");
  });
});

test("a plugin by https: its certificate counts where the spec names an authority, and the engine shows its own", async () => {
  const fixtures = join(import.meta.dir, "../../test/fixtures/tls");
  const root = mkdtempSync(join(tmpdir(), "berth-tls-plugin-"));
  const read = (name: string): string => readFileSync(join(fixtures, name), "utf8");
  using server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    tls: { cert: read("server-cert.pem"), key: read("server-key.pem"), ca: read("ca.pem"), requestCert: true, rejectUnauthorized: true },
    fetch: () => Response.json({ Implements: ["VolumeDriver"] }),
  });
  const spec = (name: string, TLSConfig: object): void =>
    writeFileSync(join(root, `${name}.json`), JSON.stringify({ Name: name, Addr: `https://127.0.0.1:${server.port}`, TLSConfig }));
  const own = { CertFile: join(fixtures, "client-cert.pem"), KeyFile: join(fixtures, "client-key.pem") };
  try {
    spec("known", { CAFile: join(fixtures, "ca.pem"), ...own });
    spec("unchecked", own);
    spec("nobody", { CAFile: join(fixtures, "ca.pem") });
    spec("stranger", { CAFile: join(fixtures, "client-cert.pem"), ...own });
    const plugins = createPlugins({ folders: { sockets: root, specs: [root] }, log: silent, times: { callMs: 5000, retryMs: 500 } });
    for (const name of ["known", "unchecked"]) expect((await plugins.get(name, "VolumeDriver")).name).toBe(name);
    for (const name of ["nobody", "stranger"]) await expect(plugins.get(name, "VolumeDriver")).rejects.toThrow(`plugin ${name} can't be reached at https://`);
  } finally {
    rmSync(root, { recursive: true });
  }
});
