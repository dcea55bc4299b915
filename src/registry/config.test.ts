import { describe, expect, test } from "bun:test";
import { parseRegistryConfig } from "./config.ts";

test("nothing said gives the defaults", () => {
  expect(parseRegistryConfig("")).toEqual({
    "read-only": false,
    gc: { interval: 3_600_000, grace: 86_400_000, untagged: false },
    cache: { upstreams: [], revalidate: 60_000 },
    quota: { repositories: {} },
  });
});

test("YAML and JSON, durations and sizes; what is laid over wins, setting by setting", () => {
  const yaml = "root: /r # here\ngc: {grace: 90s, untagged: true}\nquota:\n  total: 1.5GB\n  repositories: {'team/**': 100m}\n";
  const read = parseRegistryConfig(yaml, { gc: { grace: "2h" }, "read-only": true });
  expect(read).toMatchObject({
    root: "/r",
    "read-only": true,
    gc: { interval: 3_600_000, grace: 7_200_000, untagged: true },
    quota: { total: 1.5 * 2 ** 30, repositories: { "team/**": 100 << 20 } },
  });
  expect(parseRegistryConfig('{"root": "/r", "gc": {"interval": 0}}').gc.interval).toBe(0);
});

describe("refused, by name", () => {
  const rows: [text: string, told: RegExp][] = [
    ["root: [", /^not YAML: /],
    ["- x", /expected object/],
    ["rot: x", /rot/],
    ["gc: {grace: soon}", /gc\.grace: invalid duration "soon"/],
    ["gc: {grace: -1s}", /gc\.grace: invalid duration/],
    ["quota: {total: many}", /quota\.total: invalid size "many"/],
    ["quota: {repositories: {'../x y': 1g}}", /quota\.repositories/],
    ["tls: {cert: x}", /tls\.key/],
    ["auth: {htpasswd: {path: x}, token: {realm: 'https://x/', service: s, issuer: i}}", /htpasswd or token, not both/],
    ["auth: {htpasswd: {}}", /auth\.htpasswd\.path/],
    ["access: {rules: [{repositories: [a], allow: [read]}]}", /access\.rules\.0\.allow\.0/],
    ["access: {rules: [{repositories: [a], allow: [pull], groups: [x]}]}", /there is no group "x"/],
    ["read-only: maybe", /read-only/],
  ];
  for (const [text, told] of rows) test(text, () => expect(() => parseRegistryConfig(text)).toThrow(told));
});
