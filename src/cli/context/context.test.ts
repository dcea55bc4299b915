import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { captured } from "../../../test/terminal.ts";
import { tarOf } from "../../lib/tar-writer.ts";
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

test("a context is updated, goes to a file and comes back from it", async () => {
  for (const kind of ["ca", "cert", "key"]) writeFileSync(join(folder, `${kind}.pem`), `PEM of ${kind}`);
  const pems = ["ca", "cert", "key"].map((kind) => `${kind}=${folder}/${kind}.pem`).join(",");
  await berth(["context", "create", "--description", "old", "--docker", `host=tcp://old:2376,${pems}`, "moved"]);
  expect((await berth(["context", "update", "--description", "new", "moved"])).out).toBe("moved\n");
  const look = async (name: string): Promise<unknown> => {
    const [{ Metadata, Endpoints, TLSMaterial }] = JSON.parse((await berth(["context", "inspect", name])).out);
    return [Metadata, Endpoints, TLSMaterial];
  };
  const whole = [{ Description: "new" }, { docker: { Host: "tcp://old:2376", SkipTLSVerify: false } }, { docker: ["ca.pem", "cert.pem", "key.pem"] }];
  expect(await look("moved")).toEqual(whole);

  const file = join(folder, "moved.dockercontext");
  expect((await berth(["context", "export", "moved", file])).err).toBe(`Written file ${JSON.stringify(file)}\n`);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect((await berth(["context", "export", "moved", file])).err).toContain("EEXIST");
  expect((await berth(["context", "export", "nope", "-"])).err).toContain("context not found");
  expect((await berth(["context", "import", "moved", file])).err).toContain("already exists");
  expect(await berth(["context", "import", "again", file])).toMatchObject({ code: 0, out: "again\n" });
  expect(await look("again")).toEqual(whole);

  expect((await berth(["context", "update", "--docker", "host=tcp://new:2376", "again"])).code).toBe(0);
  expect(await look("again")).toEqual([{ Description: "new" }, { docker: { Host: "tcp://new:2376", SkipTLSVerify: false } }, {}]);
  expect((await berth(["context", "update", "nope"])).err).toContain("context not found");
});

test("archives that hold no context leave none", async () => {
  const meta = JSON.stringify({ Name: "x", Endpoints: {} });
  const cases: [text: string, archive: Uint8Array][] = [
    [
      "unexpected file",
      tarOf([
        { name: "meta.json", type: "file", body: meta },
        { name: "tls/../../../x", type: "file", body: "x" },
      ]),
    ],
    ["no meta.json", tarOf([])],
    ["JSON", tarOf([{ name: "meta.json", type: "file", body: "{" }])],
    ["larger than", tarOf([{ name: "meta.json", type: "file", body: Buffer.alloc(11 << 20) }])],
    ["holds no context", Buffer.from("PK\x03\x04 a zip")],
  ];
  for (const [text, archive] of cases) {
    writeFileSync(join(folder, "bad.dockercontext"), archive);
    const { code, err } = await berth(["context", "import", "bad", join(folder, "bad.dockercontext")]);
    expect([code, err.includes(text) ? text : err]).toEqual([1, text]);
  }
  expect((await berth(["context", "ls", "-q"])).out).not.toContain("bad");
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
