import { describe, expect, test } from "bun:test";
import type { Platform } from "./image.ts";
import { compatiblePlatforms, formatPlatform, hostPlatform, normalizePlatform, parsePlatform, platformRank, selectPlatform } from "./platform.ts";

const host: Platform = { os: "linux", architecture: "amd64" };

describe("parsing", () => {
  const rows: [string, string][] = [
    ["linux/amd64", "linux/amd64"],
    ["linux/x86_64", "linux/amd64"],
    ["linux/amd64/v1", "linux/amd64"],
    ["linux/amd64/v3", "linux/amd64/v3"],
    ["linux/aarch64", "linux/arm64"],
    ["linux/arm64/v8", "linux/arm64"],
    ["linux/arm", "linux/arm/v7"],
    ["linux/arm/6", "linux/arm/v6"],
    ["linux/armhf", "linux/arm/v7"],
    ["linux/armel", "linux/arm/v6"],
    ["linux", "linux/amd64"],
    ["arm64", "linux/arm64"],
    ["i386", "linux/386"],
    ["macos/arm64", "darwin/arm64"],
    ["Linux/AMD64", "linux/amd64"],
    ["windows/amd64", "windows/amd64"],
  ];
  for (const [text, want] of rows) test(text, () => expect(formatPlatform(parsePlatform(text, host))).toBe(want));

  for (const bad of ["", "/", "linux/", "linux//v8", "a/b/c/d", "linux/am d64", "nonsense", "linux/\n"]) {
    test(`refuses ${JSON.stringify(bad)}`, () => expect(() => parsePlatform(bad, host)).toThrow(/invalid/));
  }
});

test("the host has one", () => {
  expect(hostPlatform().os).toBe("linux");
  expect(normalizePlatform(hostPlatform())).toEqual(hostPlatform());
});

test("what a host can run", () => {
  const names = (text: string): string[] => compatiblePlatforms(parsePlatform(text, host)).map(formatPlatform);
  expect(names("linux/amd64")).toEqual(["linux/amd64", "linux/386"]);
  expect(names("linux/amd64/v3")).toEqual(["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"]);
  expect(names("linux/arm64")).toEqual(["linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]);
  expect(names("linux/arm/v6")).toEqual(["linux/arm/v6", "linux/arm/v5"]);
  expect(names("linux/s390x")).toEqual(["linux/s390x"]);
  expect(platformRank(host, { os: "unknown", architecture: "unknown" })).toBeUndefined();
});

test("the best of an index", () => {
  const pick = (wanted: string, ...offers: string[]): string | undefined =>
    selectPlatform(offers, (text) => parsePlatform(text, host), parsePlatform(wanted, host));
  expect(pick("linux/amd64", "linux/386", "linux/arm64", "linux/amd64")).toBe("linux/amd64");
  expect(pick("linux/amd64", "linux/arm64", "linux/386")).toBe("linux/386");
  expect(pick("linux/arm/v7", "linux/arm/v5", "linux/arm/v6", "linux/arm64")).toBe("linux/arm/v6");
  expect(pick("linux/amd64", "linux/amd64/v3")).toBeUndefined();
  expect(pick("linux/amd64", "windows/amd64")).toBeUndefined();
  expect(selectPlatform([{}, { platform: host }], (item) => (item as { platform?: Platform }).platform, host)).toEqual({ platform: host });
  expect(selectPlatform([{}], () => undefined, host)).toEqual({});
});
