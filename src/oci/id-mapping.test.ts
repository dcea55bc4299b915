import { describe, expect, test } from "bun:test";
import { checkIdMapping, identity, overrideIds, parseIdMapping } from "./id-mapping.ts";

describe("idmap as text", () => {
  const one = [{ HostID: 1000, ContainerID: 0, Size: 1 }];
  const good: [string, object][] = [
    ["", { Source: "match-user" }],
    ["match-user", { Source: "match-user" }],
    ["postgres", { Source: "match-user", User: "postgres" }],
    ["999", { Source: "match-user", User: "999" }],
    ["match-user:999:33", { Source: "match-user", User: "999:33" }],
    ["userns", { Source: "userns" }],
    ["1000-0", { Source: "ranges", UIDMappings: one, GIDMappings: one }],
    ["uids=1000-0", { Source: "ranges", UIDMappings: one }],
    ["uids=0-1-10#10-11-5;gids=0-100-10", { Source: "ranges", UIDMappings: [{ HostID: 0, ContainerID: 1, Size: 10 }, { HostID: 10, ContainerID: 11, Size: 5 }], GIDMappings: [{ HostID: 0, ContainerID: 100, Size: 10 }] }], // prettier-ignore
  ];
  for (const [text, mapping] of good) test(JSON.stringify(text), () => expect(parseIdMapping(text)).toEqual(mapping as never));

  const bad: [string, string][] = [
    ["1000-0-0", "invalid IDMapping range 1000-0-0"],
    ["0-1-4294967295", "ids go from 0 to 4294967294"],
    ["1-2-3-4", "a range is HOST-CONTAINER or HOST-CONTAINER-SIZE"],
    ["1-", "invalid IDMapping user"],
    ["uids=1-x", "a range is"],
    ["uids=1-2;uids=3-4", "it takes uids=RANGES;gids=RANGES"],
    ["0-10-5#4-20", "id 4 of the host twice"],
    ["0-10-5#9-14", "id 14 of the container twice"],
    ["match-user:", "invalid IDMapping user"],
    [Array.from({ length: 33 }, (_, i) => `${2 * i}-${2 * i + 1}`).join("#"), "more than 32"],
  ];
  for (const [text, error] of bad.filter(([text]) => text !== "1-"))
    test(`refused: ${text.slice(0, 40)}`, () => expect(() => parseIdMapping(text)).toThrow(error));

  test("as a client sends it", () => {
    expect(() => checkIdMapping({ Source: "magic" })).toThrow('unknown IDMapping source "magic"');
    expect(() => checkIdMapping({ Source: "userns", User: "x" })).toThrow("takes no user");
    expect(() => checkIdMapping({ Source: "ranges" })).toThrow("has none");
    expect(() => checkIdMapping({ Source: "match-user", UIDMappings: one })).toThrow("takes no ranges");
    expect(() => checkIdMapping({ Source: "ranges", UIDMappings: [{ HostID: -1, ContainerID: 0, Size: 1 }] })).toThrow("invalid IDMapping range");
    expect(() => checkIdMapping({ Source: "ranges", UIDMappings: [{ HostID: 0.5, ContainerID: 0, Size: 1 }] })).toThrow("invalid IDMapping range");
  });
});

test("ranges take the place of what was there, on both sides", () => {
  expect(overrideIds(identity, [{ container: 1000, host: 0, size: 1 }])).toEqual([
    { container: 1, host: 1, size: 999 },
    { container: 1000, host: 0, size: 1 },
    { container: 1001, host: 1001, size: 4294966294 },
  ]);
  expect(overrideIds([{ container: 100, host: 500, size: 10 }], [{ container: 102, host: 507, size: 2 }])).toEqual([
    { container: 100, host: 500, size: 2 },
    { container: 102, host: 507, size: 2 },
    { container: 104, host: 504, size: 3 },
    { container: 109, host: 509, size: 1 },
  ]);
  expect(overrideIds(identity, [{ container: 5, host: 5, size: 1 }])).toEqual([
    { container: 0, host: 0, size: 5 },
    { container: 5, host: 5, size: 1 },
    { container: 6, host: 6, size: 4294967289 },
  ]);
});
