import { describe, expect, test } from "bun:test";
import { parseChallenges } from "./challenge.ts";

describe("WWW-Authenticate", () => {
  const rows: [header: string, challenges: { scheme: string; parameters: Record<string, string> }[]][] = [
    ["", []],
    ["Basic", [{ scheme: "basic", parameters: {} }]],
    ['Basic realm="Registry Realm"', [{ scheme: "basic", parameters: { realm: "Registry Realm" } }]],
    [
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
      [{ scheme: "bearer", parameters: { realm: "https://auth.docker.io/token", service: "registry.docker.io", scope: "repository:a/b:pull,push" } }],
    ],
    ['BEARER Realm = "x" , error=insufficient_scope', [{ scheme: "bearer", parameters: { realm: "x", error: "insufficient_scope" } }]],
    [
      'Negotiate, Basic realm="a\\"b", Bearer realm="c"',
      [
        { scheme: "negotiate", parameters: {} },
        { scheme: "basic", parameters: { realm: 'a"b' } },
        { scheme: "bearer", parameters: { realm: "c" } },
      ],
    ],
    ['Bearer realm="unfinished', [{ scheme: "bearer", parameters: {} }]],
    ["Bearer realm=", [{ scheme: "bearer", parameters: {} }]],
    ['"nonsense"', []],
    ["Bearer __proto__=x", [{ scheme: "bearer", parameters: JSON.parse('{"__proto__":"x"}') as Record<string, string> }]],
  ];
  for (const [header, want] of rows) {
    test(JSON.stringify(header), () =>
      expect(
        parseChallenges(header).map(({ scheme, parameters }) => ({ scheme, parameters: JSON.parse(JSON.stringify(parameters)) as Record<string, string> })),
      ).toEqual(want),
    );
  }

  test("a long header is cut, not choked on", () => {
    expect(parseChallenges("Basic, ".repeat(100_000)).length).toBeLessThan(5000);
    expect(parseChallenges(`Bearer realm="${"\\".repeat(100_000)}`)).toHaveLength(1);
  });
});
