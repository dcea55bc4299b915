import { describe, expect, test } from "bun:test";
import type { Context } from "./context.ts";
import type { ContainerRecord } from "./types.ts";
import { findFree, joinedUserNamespace, poolOf, usernsModeOf } from "./user-namespace.ts";

describe("ids of private user namespaces", () => {
  const line = (owner: string, start: number, size: number) => ({ owner, start, size });

  test("come from the account's ranges where it has any, else from systemd's, around everybody else's", () => {
    const own = poolOf([line("berth", 1_000_000, 200_000), line("ann", 100_000, 65_536)], [line("berth", 1_100_000, 500_000)]);
    expect(own).toEqual({ spans: [{ start: 1_100_000, size: 100_000 }], foreign: [] });
    const common = poolOf([line("ann", 600_000, 65_536)], []);
    expect(common.spans).toEqual([{ start: 524_288, size: 1_878_458_368 }]);
    expect(common.foreign).toEqual([line("ann", 600_000, 65_536)]);
  });

  test("are free of others, and run out with a sentence", () => {
    const pool = {
      spans: [
        { start: 1_000_000, size: 140_000 },
        { start: 3_000_000, size: 65_536 },
      ],
      foreign: [{ start: 1_065_535, size: 2 }],
    };
    expect(findFree({ pool, taken: [], from: 0 })).toBe(3_000_000);
    expect(findFree({ pool: { ...pool, foreign: [] }, taken: [{ start: 1_000_000, size: 65_536 }], from: 0 })).toBe(1_065_536);
    expect(findFree({ pool: { ...pool, foreign: [] }, taken: [], from: 0.99 })).toBe(3_000_000);
    expect(() => findFree({ pool, taken: [{ start: 2_900_000, size: 100_001 }], from: 0.5 })).toThrow("no 65536 ids are free");
    expect(() => findFree({ pool: { spans: [], foreign: [] }, taken: [], from: 0.5 })).toThrow("no 65536 ids are free");
  });

  test("are asked for by mode or by label, which must agree", () => {
    const labelled = (value: string) => ({ Labels: { "berth.userns": value } });
    expect(usernsModeOf({}, {})).toBe("");
    expect(usernsModeOf({}, { UsernsMode: "private" })).toBe("private");
    expect(usernsModeOf(labelled("private"), {})).toBe("private");
    expect(usernsModeOf(labelled("private"), { UsernsMode: "private" })).toBe("private");
    expect(() => usernsModeOf(labelled("private"), { UsernsMode: "host" })).toThrow("conflicting options");
    expect(() => usernsModeOf(labelled("x"), {})).toThrow("invalid user namespace mode: x");
  });
});

test("a partner that was named before it was there has its user namespace joined too, or refuses", () => {
  const idMap = { uids: [{ container: 0, host: 100_000, size: 65_536 }], gids: [{ container: 0, host: 100_000, size: 65_536 }] };
  const record = { id: "a", name: "a", host: { NetworkMode: "container:later" }, idMap } as unknown as ContainerRecord;
  const ctxWith = (partner: object): Context =>
    ({
      entries: new Map([["b", { record: { id: "b", name: "later", ...partner }, sandbox: { pid: process.pid } }]]),
      names: new Map([["later", "b"]]),
    }) as unknown as Context;
  expect(joinedUserNamespace(ctxWith({ idMap }), record)).toBe(process.pid);
  expect(() => joinedUserNamespace(ctxWith({}), record)).toThrow("cannot join a namespace of container b");
});
