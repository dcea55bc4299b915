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
  expect((await endpoints.of("docker.io", "pull")).map(({ base, mirror }) => [base, mirror])).toEqual([
    ["https://mirror.example/prefix", true],
    ["https://registry-1.docker.io", false],
  ]);
  expect((await endpoints.of("docker.io", "push")).map(({ base }) => base)).toEqual(["https://registry-1.docker.io"]);
  expect((await endpoints.of("ghcr.io", "pull")).map(({ base }) => base)).toEqual(["https://ghcr.io"]);
  for (const bad of ["mirror.example", "ftp://x", "https://u@x", "https://x?q"]) expect(() => make([], [bad])).toThrow("invalid mirror");
});
