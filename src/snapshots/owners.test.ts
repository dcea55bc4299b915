import { expect, test } from "bun:test";
import type { IdMap } from "../oci/id-map.ts";
import { ownerInContainer, ownerOnHost, xattrsInContainer, xattrsOnHost } from "./owners.ts";

const map: IdMap = { uids: [{ container: 0, host: 100_000, size: 1000 }], gids: [{ container: 0, host: 200_000, size: 1000 }] };
const plain = new Map([
  ["security.capability", Buffer.from("0100000200040000000000000000000000000000", "hex")],
  ["user.x", Buffer.from("y")],
]);

test("owners go to the host and back", () => {
  expect(ownerOnHost(map, { uid: 5, gid: 6 })).toEqual({ uid: 100_005, gid: 200_006 });
  expect(ownerInContainer(map, { uid: 100_005, gid: 200_006 })).toEqual({ uid: 5, gid: 6 });
  expect(ownerInContainer(map, { uid: 0, gid: 0 })).toEqual({ uid: 65534, gid: 65534 });
  expect(ownerOnHost(undefined, { uid: 5, gid: 6 })).toEqual({ uid: 5, gid: 6 });
  expect(() => ownerOnHost(map, { uid: 1000, gid: 0 })).toThrow("container ID 1000 cannot be mapped to a host ID");
  expect(() => ownerOnHost(map, { uid: 0, gid: 1001 })).toThrow("container ID 1001 cannot be mapped to a host ID");
});

test("file capabilities name the container's root on the host, and nobody in archives", () => {
  const stored = xattrsOnHost(map, plain);
  expect(Buffer.from(stored.get("security.capability")!).toString("hex")).toBe(`0100000300040000000000000000000000000000${"a0860100"}`);
  expect(stored.get("user.x")).toBe(plain.get("user.x")!);
  expect(xattrsInContainer(map, stored)).toEqual(plain);
  expect(xattrsOnHost(undefined, plain)).toBe(plain);
  // another namespace's root: they mean nothing here
  const other: IdMap = { uids: [{ container: 0, host: 300_000, size: 1000 }], gids: map.gids };
  expect([...xattrsInContainer(other, stored).keys()]).toEqual(["user.x"]);
});

test("the users and groups of access control lists, too", () => {
  const hex = (value: Uint8Array): string => Buffer.from(value).toString("hex");
  // owner, user 5, group, group 6, mask, others
  const list = (user: number, group: number): Buffer => {
    const data = Buffer.from("0200000001000600ffffffff020004000000000004000400ffffffff080004000000000010000400ffffffff20000000ffffffff", "hex");
    data.writeUInt32LE(user, 16);
    data.writeUInt32LE(group, 32);
    return data;
  };
  const inside = new Map<string, Uint8Array>([["system.posix_acl_access", list(5, 6)], ["system.posix_acl_default", list(7, 8)]]); // prettier-ignore
  const stored = xattrsOnHost(map, inside);
  expect([...stored.values()].map(hex)).toEqual([list(100_005, 200_006), list(100_007, 200_008)].map(hex));
  expect([...xattrsInContainer(map, stored).values()].map(hex)).toEqual([list(5, 6), list(7, 8)].map(hex));
  expect(() => xattrsOnHost(map, new Map<string, Uint8Array>([["system.posix_acl_access", list(1000, 0)]]))).toThrow(
    "container ID 1000 cannot be mapped to a host ID",
  );
  expect(xattrsOnHost(map, new Map<string, Uint8Array>([["system.posix_acl_access", Buffer.from("02")]])).size).toBe(1);
});
