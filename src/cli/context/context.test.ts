import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { captured } from "../../../test/terminal.ts";
import { runCli } from "../main.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "berth-context-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function berth(args: string[], env: Record<string, string> = {}) {
  const io = captured();
  const code = await runCli(args, { daemon: async () => 0, registry: async () => 0 }, { io, env: { DOCKER_CONFIG: folder, ...env } });
  return { code, out: io.stdout(), err: io.stderr() };
}

test("a context's life", async () => {
  expect((await berth(["context", "show"])).out).toBe("default\n");
  writeFileSync(join(folder, "ca.pem"), "PEM");
  expect(await berth(["context", "create", "--description", "far away", "--docker", `host=tcp://h:2376,ca=${folder}/ca.pem`, "far"])).toMatchObject({
    code: 0,
    out: "far\n",
  });
  expect((await berth(["context", "create", "far"])).err).toContain('context "far" already exists');
  expect((await berth(["context", "create", "default"])).err).toContain("reserved");
  expect((await berth(["context", "create", "../x"])).err).toContain("is invalid");
  expect((await berth(["context", "use", "nope"])).err).toContain('context "nope": context not found');

  expect((await berth(["context", "use", "far"])).out).toBe("far\n");
  expect((await berth(["context", "ls"])).out).toMatch(/^NAME +DESCRIPTION +DOCKER ENDPOINT +ERROR\ndefault .*\nfar \* +far away +tcp:\/\/h:2376 +\n$/);
  expect((await berth(["context", "ls", "--format", "{{.Name}} {{.Current}}"])).out).toBe("default false\nfar true\n");
  expect((await berth(["context", "show"], { DOCKER_HOST: "unix:///x" })).out).toBe("default\n");
  expect((await berth(["context", "show"], { DOCKER_CONTEXT: "other" })).out).toBe("other\n");
  const [inspected] = JSON.parse((await berth(["context", "inspect"])).out) as [
    { Name: string; TLSMaterial: unknown; Endpoints: { docker: { Host: string } } },
  ];
  expect(inspected).toMatchObject({ Name: "far", TLSMaterial: { docker: ["ca.pem"] }, Endpoints: { docker: { Host: "tcp://h:2376" } } });

  expect((await berth(["context", "rm", "far"])).err).toContain("is in use");
  expect((await berth(["context", "rm", "-f", "far"])).out).toBe("far\n");
  expect((await berth(["context", "show"])).out).toBe("default\n");
});

test("the engine of a context is used, unless a flag or DOCKER_HOST names another", async () => {
  await berth(["context", "create", "--docker", "host=unix:///of-context.sock", "ctx"]);
  const asked = async (args: string[], env: Record<string, string> = {}): Promise<string> =>
    /at (\S+)\. Is berthd/.exec((await berth([...args, "ps"], env)).err)?.[1] ?? "";
  expect(await asked([])).toBe("unix:///run/berth/berth.sock");
  expect(await asked(["-c", "ctx"])).toBe("unix:///of-context.sock");
  expect(await asked([], { DOCKER_CONTEXT: "ctx" })).toBe("unix:///of-context.sock");
  expect(await asked([], { DOCKER_CONTEXT: "ctx", DOCKER_HOST: "unix:///of-docker.sock" })).toBe("unix:///of-docker.sock");
  expect(await asked([], { BERTH_HOST: "unix:///of-berth.sock", DOCKER_HOST: "unix:///of-docker.sock" })).toBe("unix:///of-berth.sock");
  expect(await asked(["-c", "ctx"], { DOCKER_HOST: "unix:///of-docker.sock" })).toBe("unix:///of-context.sock");
  expect(await asked(["-H", "unix:///of-flag.sock"], { DOCKER_CONTEXT: "ctx" })).toBe("unix:///of-flag.sock");
  await berth(["context", "use", "ctx"]);
  expect(await asked([])).toBe("unix:///of-context.sock");
});
