import { describe, expect, test } from "bun:test";
import { silent } from "../lib/log.ts";
import { createEndpoints } from "./endpoints.ts";

const make = (insecure: string[] = [], mirrors: string[] = []): ReturnType<typeof createEndpoints> =>
  createEndpoints({ insecure, mirrors, certificates: [], stallTimeout: 1000, log: silent });

describe("insecure registries", () => {
  const endpoints = make(["registry.lan:5000", "10.1.0.0/16", "plain.example", "fd00::/8"]);
  for (const host of [
    "localhost",
    "localhost:5000",
    "127.0.0.1:5000",
    "127.9.9.9",
    "[::1]:5000",
    "registry.lan:5000",
    "REGISTRY.lan:5000",
    "10.1.2.3:80",
    "plain.example",
    "[fd00::1]",
  ]) {
    test(host, async () => expect(await endpoints.isInsecure(host)).toBe(true));
  }
  const strict = make();
  for (const host of ["registry.lan", "10.1.2.3", "128.0.0.1", "localhost.example", "127.0.0.1.example", "[::2]"]) {
    test(`not ${host}`, async () => expect(await strict.isInsecure(host)).toBe(false));
  }
  for (const bad of ["", "a b", "host/path", "10.0.0.0/99"])
    test(`refuses ${JSON.stringify(bad)}`, () => expect(() => make([bad])).toThrow("neither a host nor a network"));
});

test("mirrors serve reads of docker.io only", async () => {
  const endpoints = make([], ["https://mirror.example/prefix/"]);
  expect((await endpoints.mirrors("docker.io")).map(({ base, mirror }) => [base, mirror])).toEqual([["https://mirror.example/prefix", true]]);
  expect(await endpoints.own("docker.io")).toMatchObject({ base: "https://registry-1.docker.io", mirror: false });
  expect(await endpoints.mirrors("ghcr.io")).toEqual([]);
  expect(await endpoints.own("ghcr.io")).toMatchObject({ base: "https://ghcr.io", mirror: false });
  for (const bad of ["mirror.example", "ftp://x", "https://u@x", "https://x?q"]) expect(() => make([], [bad])).toThrow("invalid mirror");
});

test("mirrors of any registry", async () => {
  const mirrorsOf = { "quay.io": ["https://a.example/quay", "https://b.example"], "docker.io": ["https://hub.example"], "*": ["https://all.example"] };
  const endpoints = createEndpoints({ insecure: [], mirrors: ["https://first.example"], mirrorsOf, certificates: [], stallTimeout: 1000, log: silent });
  const of = async (domain: string): Promise<(string | undefined)[][]> => (await endpoints.mirrors(domain)).map(({ base, namespace }) => [base, namespace]);
  expect(await of("quay.io")).toEqual([
    ["https://a.example/quay", undefined],
    ["https://b.example", undefined],
  ]);
  expect((await of("docker.io")).map(([base]) => base)).toEqual(["https://first.example", "https://hub.example"]);
  expect(await of("ghcr.io:443")).toEqual([["https://all.example", "ghcr.io:443"]]);
  // one that couldn't be reached
  endpoints.forget((await endpoints.mirrors("quay.io"))[0]!);
  expect((await of("quay.io")).map(([base]) => base)).toEqual(["https://b.example"]);
  const bad = (registry: string): unknown =>
    createEndpoints({ insecure: [], mirrors: [], mirrorsOf: { [registry]: [] }, certificates: [], stallTimeout: 1, log: silent });
  for (const registry of ["", "https://quay.io", "quay.io/x"]) expect(() => bad(registry)).toThrow("is no registry");
});
