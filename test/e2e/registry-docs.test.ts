import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { blocksOf } from "../documented.ts";
import { run } from "./harness.ts";

/** What docs/registry.md shows is what the registry takes. */
const berth = resolve(import.meta.dir, "../../dist/berth");
const blocks = (language: string): string[] => blocksOf("registry.md", language);
let folder: string;

/** The documentation's paths, in a folder that has such files. */
const here = (block: string): string => block.replaceAll("/etc/berth/", `${folder}/`).replaceAll("/srv/registry", `${folder}/registry`);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "berth-registry-docs-"));
  const fixtures = resolve(import.meta.dir, "../fixtures/tls");
  for (const [to, from] of [
    ["registry.crt", "server-cert.pem"],
    ["registry.key", "server-key.pem"],
    ["issuer.crt", "ca.pem"],
  ] as const) {
    cpSync(join(fixtures, from), join(folder, to));
  }
  writeFileSync(join(folder, "registry.htpasswd"), `alice:${Bun.password.hashSync("x", { algorithm: "bcrypt", cost: 4 })}\n`);
  writeFileSync(join(folder, "hub.password"), "secret\n");
  writeFileSync(join(folder, "registry.yml"), here(blocks("yaml")[0]!));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("there are examples", () => {
  expect([blocks("yaml").length, blocks("sh").length]).toEqual([6, 5]);
});

for (const [i, block] of blocks("yaml").entries()) {
  test(`settings: ${block.split("\n", 1)[0]} (${i + 1})`, async () => {
    const file = join(folder, `block-${i}.yml`);
    writeFileSync(file, here(block));
    expect(await run([berth, "registry", "serve", "--config", file, "--validate"])).toEqual({ code: 0, stdout: "configuration OK\n", stderr: "" });
  });
}

for (const line of blocks("sh").flatMap((block) => block.split("\n"))) {
  if (!line.startsWith("berth registry serve")) continue;
  test(line, async () => {
    const args = here(line).split(" ").slice(1);
    expect(await run([berth, ...args, "--validate"])).toEqual({ code: 0, stdout: "configuration OK\n", stderr: "" });
  });
}
