import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createConfig } from "./config.ts";
import { allCredentials, credentialsOrNone, eraseCredentials, hubServer, readCredentials, serverOf, storeCredentials } from "./credentials.ts";

const quiet = { write: async () => {}, isTty: false, columns: () => 0, colours: false };
let folder: string;
const path = process.env.PATH;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "berth-credentials-"));
  // A helper as the protocol describes it: the verb as argument, the question on standard input.
  writeFileSync(
    join(folder, "docker-credential-files"),
    `#!/bin/sh
case $1 in
  get) read -r server
    [ "$server" = broken ] && { echo "keychain is locked" >&2; exit 1; }
    [ -f "${folder}/kept" ] || { echo "credentials not found in native keychain"; exit 1; }
    cat "${folder}/kept" ;;
  store) cat > "${folder}/kept" ;;
  erase) rm -f "${folder}/kept" ;;
esac
`,
    { mode: 0o755 },
  );
  process.env.PATH = `${folder}:${path}`;
});
afterAll(() => {
  process.env.PATH = path;
  rmSync(folder, { recursive: true, force: true });
});

const config = (content: object) => {
  writeFileSync(join(folder, "config.json"), JSON.stringify(content));
  return createConfig(folder);
};
const encode = (text: string): string => Buffer.from(text).toString("base64");

test("registries of images", () => {
  expect(["busybox", "me/x:1", "localhost:5000/x", "ghcr.io/a/b@sha256:" + "0".repeat(64)].map(serverOf)).toEqual([
    hubServer,
    hubServer,
    "localhost:5000",
    "ghcr.io",
  ]);
});

test("credentials of config.json, whatever way the registry is spelt", async () => {
  const found = config({ auths: { "https://reg.example/v1/": { auth: encode("me:pass:word") }, "tok.example": { identitytoken: "t" } } });
  expect(await readCredentials(found, "reg.example")).toEqual({ username: "me", password: "pass:word", serveraddress: "reg.example" });
  expect(await readCredentials(found, "tok.example")).toEqual({ identitytoken: "t", serveraddress: "tok.example" });
  expect(await readCredentials(found, "other.example")).toBeUndefined();
  expect(Object.keys(await allCredentials(found, quiet))).toEqual(["https://reg.example/v1/", "tok.example"]);
  await expect(readCredentials(config({ auths: { x: { auth: encode("nocolon") } } }), "x")).rejects.toThrow("invalid auth configuration");
});

test("a helper keeps, gives and forgets them; the file holds no secret", async () => {
  const helped = config({ credHelpers: { "reg.example": "files" } });
  expect(await readCredentials(helped, "reg.example")).toBeUndefined();
  expect(await storeCredentials(helped, { username: "me", password: "secret", serveraddress: "reg.example" })).toBe("helper");
  expect(readFileSync(join(folder, "config.json"), "utf8")).not.toContain("secret");
  writeFileSync(join(folder, "kept"), JSON.stringify({ ServerURL: "reg.example", Username: "me", Secret: "secret" }));
  expect(await readCredentials(helped, "reg.example")).toEqual({ username: "me", password: "secret", serveraddress: "reg.example" });
  writeFileSync(join(folder, "kept"), JSON.stringify({ Username: "<token>", Secret: "tok" }));
  expect(await readCredentials(helped, "reg.example")).toEqual({ identitytoken: "tok", serveraddress: "reg.example" });
  expect(await eraseCredentials(helped, "reg.example")).toBe(true);
  expect(await readCredentials(helped, "reg.example")).toBeUndefined();
});

test("a helper that fails or isn't there is named", async () => {
  await expect(readCredentials(config({ credsStore: "files" }), "broken")).rejects.toThrow("docker-credential-files: keychain is locked");
  await expect(readCredentials(config({ credsStore: "missing" }), "x")).rejects.toThrow("docker-credential-missing is not on the PATH");
  const said: string[] = [];
  const err = { ...quiet, write: async (text: string | Uint8Array) => void said.push(String(text)) };
  expect(await credentialsOrNone(config({ credsStore: "missing" }), "x", err)).toBeUndefined();
  expect(said).toEqual(["WARNING: error getting credentials: docker-credential-missing is not on the PATH; going on without credentials for x\n"]);
  await expect(readCredentials(config({ credsStore: "../x" }), "x")).rejects.toThrow("invalid credential helper name");
});

test("a config.json that isn't JSON is named, one that isn't there is empty", async () => {
  writeFileSync(join(folder, "config.json"), "{");
  await expect(createConfig(folder).file()).rejects.toThrow(`${folder}/config.json is not valid JSON`);
  expect(await createConfig(join(folder, "nowhere")).file()).toEqual({});
});
