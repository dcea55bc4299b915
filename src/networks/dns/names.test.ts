import { expect, test } from "bun:test";
import { parseAddress } from "../../lib/address.ts";
import { Names } from "./names.ts";
import type { NamedEndpoint } from "./types.ts";

let count = 0;
const endpoint = (containerId: string, network: string, names: string[], addresses: string[], more: Partial<NamedEndpoint> = {}): NamedEndpoint => ({
  id: `e${count++}`,
  networkId: `id of ${network}`,
  networkName: network,
  containerId,
  names,
  addresses,
  external: true,
  gateways: 1,
  priority: 0,
  servers: [],
  ndots: false,
  ...more,
});
const found = (names: Names, containerId: string, name: string): string[] | undefined => names.addressesOf(containerId, name)?.map((bytes) => bytes.join("."));

test("a container knows the names of its own networks, in any case, alone and with the network's name", () => {
  const names = new Names();
  names.put(endpoint("a", "front", ["web", "aaaaaaaaaaaa"], ["10.0.0.2"]));
  names.put(endpoint("b", "front", ["db.Main"], ["10.0.0.3"]));
  names.put(endpoint("c", "back.end", ["web"], ["10.1.0.2"]));
  expect(found(names, "b", "WEB")).toEqual(["10.0.0.2"]);
  expect(found(names, "b", "aaaaaaaaaaaa.Front")).toEqual(["10.0.0.2"]);
  expect(found(names, "a", "db.main")).toEqual(["10.0.0.3"]);
  expect(found(names, "a", "db.main.front")).toEqual(["10.0.0.3"]);
  expect(found(names, "c", "web.back.end")).toEqual(["10.1.0.2"]);
  for (const name of ["web.back.end", "web.fron", "front", "", ".", "web.", "toString", "__proto__"]) expect(found(names, "a", name)).toBeUndefined();
  expect(found(names, "nobody", "web")).toBeUndefined();
});

test("several containers with one alias are all there; what goes is gone at once", () => {
  const names = new Names();
  const [one, two] = [endpoint("a", "n", ["a", "svc"], ["10.0.0.2"]), endpoint("b", "n", ["b", "svc"], ["10.0.0.3", "fd00::3"])];
  names.put(one);
  names.put(two);
  expect(names.addressesOf("a", "svc")!.map((bytes) => bytes.length)).toEqual([4, 4, 16]);
  names.remove(one.id);
  expect(found(names, "b", "svc")![0]).toBe("10.0.0.3");
  names.put({ ...two, names: ["b"] });
  expect(found(names, "b", "svc")).toBeUndefined();
  names.remove(two.id);
  names.remove(two.id);
  expect(found(names, "b", "b")).toBeUndefined();
});

test("of several networks that know a name one answers: by priority, outward ones first, then by name", () => {
  const names = new Names();
  for (const [network, address] of [
    ["aa", "10.0.0.2"],
    ["bb", "10.1.0.2"],
    ["cc", "10.2.0.2"],
  ] as const)
    names.put(endpoint("db", network, ["db"], [address]));
  const own = [endpoint("me", "bb", [], []), endpoint("me", "aa", [], [], { external: false, gateways: 0 }), endpoint("me", "cc", [], [])];
  for (const each of own) names.put(each);
  expect(found(names, "me", "db")).toEqual(["10.1.0.2"]);
  names.put({ ...own[2]!, priority: 5 });
  expect(found(names, "me", "db")).toEqual(["10.2.0.2"]);
  names.remove(own[2]!.id);
  names.remove(own[0]!.id);
  expect(found(names, "me", "db")).toEqual(["10.0.0.2"]);
});

test("a link is for its container alone, and hides a name of the same text", () => {
  const names = new Names();
  names.put(endpoint("a", "n", ["a"], ["10.0.0.2"], { links: { db: "mysql" } }));
  names.put(endpoint("m", "n", ["mysql"], ["10.0.0.3"]));
  names.put(endpoint("d", "n", ["db"], ["10.0.0.4"]));
  expect(found(names, "a", "db")).toEqual(["10.0.0.3"]);
  expect(found(names, "m", "db")).toEqual(["10.0.0.4"]);
});

test("an address is its container's first name that DNS can carry, on the asker's networks only", () => {
  const names = new Names();
  names.put(endpoint("a", "n", ["x".repeat(64), "short"], ["10.0.0.2", "fd00::2"]));
  names.put(endpoint("b", "n", ["b"], ["10.0.0.3"]));
  names.put(endpoint("c", "other", ["c"], ["10.1.0.2"]));
  expect(names.nameOf("b", parseAddress("10.0.0.2")!)).toBe("short.n");
  expect(names.nameOf("b", parseAddress("fd00::2")!)).toBe("short.n");
  expect(names.nameOf("c", parseAddress("10.0.0.2")!)).toBeUndefined();
});

test("where questions go outside is the container's own affair", () => {
  const names = new Names();
  const inner = endpoint("a", "inner", ["a"], ["10.0.0.2"], { external: false, gateways: 0 });
  names.put(inner);
  expect(names.outside("a")).toEqual({ external: false, servers: [], ndots: false });
  names.put(endpoint("a", "outer", ["a"], ["10.1.0.2"], { servers: ["9.9.9.9"], ndots: true }));
  expect(names.outside("a")).toEqual({ external: true, servers: ["9.9.9.9"], ndots: true });
});
