import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createCertificates } from "./certificates.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "berth-certs-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function put(path: string, text: string): string {
  mkdirSync(join(root, path, ".."), { recursive: true });
  writeFileSync(join(root, path), text);
  return join(root, path);
}

test("the host's CAs count besides a registry's own; the first folder that has the registry counts", async () => {
  const bundle = put("bundle", "host");
  put("b/reg:5000/ca.crt", "own");
  put("b/reg:5000/client.cert", "cert");
  put("b/reg:5000/client.key", "key");
  put("d/reg:5000/ca.crt", "docker's");
  put("d/other/b.crt", "two");
  put("d/other/a.crt", "one");
  const certificates = createCertificates([join(root, "b"), join(root, "d")], [join(root, "missing"), bundle, put("late", "never")]);
  expect(await certificates.of("reg:5000", false)).toEqual({ insecure: false, ca: ["host", "own"], cert: "cert", key: "key" });
  expect(await certificates.of("other", false)).toEqual({ insecure: false, ca: ["host", "one", "two"] });
  expect(await certificates.of("reg", false)).toEqual({ insecure: false, ca: ["host"] });
  expect(await certificates.of("reg:5000", true)).toEqual({ insecure: true, cert: "cert", key: "key" });
  put("bundle", "changed");
  utimesSync(bundle, 1, 1);
  expect(await certificates.of("reg", false)).toEqual({ insecure: false, ca: ["changed"] });
});

test("a host without a bundle trusts what comes with the executable", async () => {
  put("d/reg/ca.crt", "own");
  const certificates = createCertificates([join(root, "d")], []);
  expect(await certificates.of("other", false)).toEqual({ insecure: false });
  const { ca } = await certificates.of("reg", false);
  expect(ca!.length).toBeGreaterThan(50);
  expect(ca!.at(-1)).toBe("own");
});

test("half a pair is told, as Docker does", async () => {
  put("d/a/client.cert", "cert");
  put("d/b/client.key", "key");
  const certificates = createCertificates([join(root, "d")], []);
  expect(certificates.of("a", false)).rejects.toThrow("missing key client.key for client certificate client.cert. CA certificates must use the extension .crt");
  expect(certificates.of("b", false)).rejects.toThrow("missing client certificate client.cert for key client.key");
});
