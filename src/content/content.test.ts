import { expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { contentContract } from "../../test/contract/content.ts";
import { silent } from "../lib/log.ts";
import { digestOf } from "../oci/digest.ts";
import { migrations } from "../store/schema.ts";
import { openStore } from "../store/store.ts";
import { createContentStore } from "./content.ts";

async function open() {
  const directory = mkdtempSync(join(tmpdir(), "berth-content-"));
  const root = join(directory, "content");
  const store = openStore(join(directory, "engine.db"), migrations);
  const create = () => createContentStore({ root, store, log: silent });
  return {
    root,
    store,
    content: create(),
    reopen: async () => create(),
    [Symbol.asyncDispose]: async () => {
      store[Symbol.dispose]();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

contentContract("files", open);

test("it is an OCI image layout", async () => {
  await using env = await open();
  const { digest } = await env.content.put("x");
  expect(JSON.parse(readFileSync(join(env.root, "oci-layout"), "utf8"))).toEqual({ imageLayoutVersion: "1.0.0" });
  expect(readdirSync(join(env.root, "blobs/sha256"))).toEqual([digest.slice(7)]);
});

test("restore removes files without a record and records without a file", async () => {
  await using env = await open();
  const { digest: kept } = await env.content.put("kept");
  const { digest: lost } = await env.content.put("lost");
  rmSync(env.content.path(lost));
  writeFileSync(join(env.root, "blobs/sha256", "0".repeat(64)), "stray");
  writeFileSync(join(env.root, "blobs/sha256", "rubbish"), "stray");
  await env.content.restore();
  expect(env.content.list().map((blob) => blob.digest)).toEqual([kept]);
  expect(readdirSync(join(env.root, "blobs/sha256"))).toEqual([kept.slice(7)]);
});

test("a download that is all there is known to be by an engine that comes after a kill, however quickly it came", async () => {
  await using env = await open();
  const blob = { digest: digestOf("0123456789"), size: 10 };
  await using left = await env.content.download(blob);
  await left.write(0, [Buffer.from("0123456789")]);
  const noted = (): boolean => readdirSync(join(env.root, "ingest")).some((name) => name.endsWith(".json"));
  for (let i = 0; i < 200 && !noted(); i++) await Bun.sleep(10);
  // as a killed engine leaves it: nobody has said that it is to be kept
  const next = await env.reopen();
  await using again = await next.download(blob);
  expect(again.missing()).toEqual([]);
});
