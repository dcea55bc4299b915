import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { skipped } from "../skips.ts";
import { run, suiteEngine, until } from "./harness.ts";

/** An engine that is a registry, too (`berthd --registry`), with users and rights; driven by the docker command. */
describe.skipIf(skipped("root", "overlay", "docker"))("an engine's own registry", () => {
  const folder = mkdtempSync(join(tmpdir(), "berth-registry-own-"));
  const config = join(folder, "registry.yml");
  const settings = (challenge: string): string => `
auth:
  htpasswd: {path: ${folder}/htpasswd, challenge: ${challenge}}
access:
  groups: {developers: [alice]}
  rules:
    - {repositories: ["team/**"], allow: [pull, push], groups: [developers]}
    - {repositories: ["public/**"], allow: [pull, push], users: ["*"]}
    - {repositories: ["public/**"], allow: [pull], anonymous: true}
`;
  writeFileSync(config, settings("token"));
  writeFileSync(join(folder, "htpasswd"), `alice:${Bun.password.hashSync("wonder", { algorithm: "bcrypt", cost: 5 })}\n`);
  const engine = suiteEngine(["--registry", "127.0.0.1:5000", "--registry-config", config]);
  const image = "localhost:5000/public/app:1";
  const login = (password: string) => engine.docker(["login", "-u", "alice", "--password-stdin", "localhost:5000"], { stdin: password });
  const blobs = (): string[] => readdirSync(join(engine.data, "content/blobs/sha256")).sort();
  /** Requests to the registry since the last call. */
  let seen = 0;
  const requests = (): string[] => {
    const lines = engine.log().split("\n");
    const fresh = lines.slice(seen).filter((line) => line.includes('msg="registry request"'));
    seen = lines.length;
    return fresh.map((line) => `${/method=(\S+)/.exec(line)![1]} ${/path=(\S+)/.exec(line)![1]}`);
  };
  beforeAll(async () => {
    await engine.ok("tag", "busybox", image);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test("login, push and pull with a token; what isn't allowed is denied", async () => {
    expect(await engine.refused("push", image)).toContain("denied");
    expect((await login("wrong")).stderr).toContain("unauthorized: incorrect username or password");
    expect((await login("wonder")).stdout).toContain("Login Succeeded");
    await engine.ok("push", image);
    for (const name of ["team/app:1", "other/app:1"]) await engine.ok("tag", "busybox", `localhost:5000/${name}`);
    await engine.ok("push", "localhost:5000/team/app:1");
    expect(await engine.refused("push", "localhost:5000/other/app:1")).toContain("denied: requested access to the resource is denied");
    await engine.ok("logout", "localhost:5000");
    expect(await engine.refused("pull", "localhost:5000/team/app:1")).toContain("denied");
    await engine.ok("pull", image);
  });

  test("what was pushed is stored once, outlives the image, and comes back without a byte", async () => {
    const id = await engine.ok("inspect", "-f", "{{.Id}}", image);
    await engine.ok("rmi", "-f", id);
    // manifest, config and the layer as it was pushed; the tar that was imported is gone
    const before = blobs();
    expect(before).toHaveLength(3);
    await engine.kill9();
    await engine.start();
    expect(blobs()).toEqual(before);
    requests();
    await engine.ok("pull", image);
    expect(requests().filter((line) => line.includes("/blobs/"))).toEqual([]);
    expect(await engine.ok("inspect", "-f", "{{.Id}}", image)).toBe(id);
    expect(await engine.ok("run", "--rm", image, "echo", "it runs")).toBe("it runs");
    expect(blobs()).toEqual(before);
    expect(await (await engine.api("GET", "/metrics")).text()).toMatch(/^berth_registry_stored_bytes [1-9]/m);
  });

  test("what the registry deletes stays while an image needs it, and goes after", async () => {
    const manifest = (await engine.ok("inspect", "-f", "{{index .RepoDigests 0}}", image)).split("@")[1]!;
    const before = blobs();
    // Nobody may delete by the rules, until they say so.
    writeFileSync(config, "gc: {interval: 100ms, grace: 0}\n");
    process.kill(engine.pid, "SIGHUP");
    await until("the reload", () => engine.log().includes("settings reloaded"));
    for (const name of ["public/app", "team/app"]) {
      const url = `http://127.0.0.1:5000/v2/${name}/manifests/${manifest}`;
      const script = `console.log((await fetch("${url}", { method: "DELETE" })).status)`;
      const answer = await run([...engine.onHost, process.execPath, "-e", script]);
      expect(answer.stdout.trim()).toBe("202");
    }
    await until("the collection", () => engine.log().includes("registry collected what nothing names"));
    expect(blobs()).toEqual(before);
    await engine.ok("rmi", "-f", image);
    expect(blobs().length).toBeLessThan(before.length);
    await engine.ok("import", join(engine.root, "busybox.tar"), image);
  });

  test("with passwords instead of tokens, after a reload", async () => {
    writeFileSync(config, settings("basic"));
    process.kill(engine.pid, "SIGHUP");
    await until("the reload", () => engine.log().split("settings reloaded").length === 3);
    expect((await login("wrong")).stderr).toContain("unauthorized: incorrect username or password");
    expect((await login("wonder")).stdout).toContain("Login Succeeded");
    await engine.ok("push", image);
    await engine.ok("rmi", image);
    await engine.ok("pull", image);
    writeFileSync(config, "auth: {htpasswd: {path: /nope}}\n");
    process.kill(engine.pid, "SIGHUP");
    await until("the refusal", () => /settings not reloaded.*can't read the passwords/.test(engine.log()));
    await engine.ok("push", image);
  });
});
