import { expect, test } from "bun:test";
import { formatAddress, formatSubnet, parseAddress, parsePrefix, type Subnet } from "../lib/address.ts";
import { AddressPool, chooseSubnet, defaultPools, localPool } from "./ipam.ts";

const block = (text: string) => parsePrefix(text)!.subnet;
const pool = (text: string, range?: string) => new AddressPool(block(text), range === undefined ? undefined : block(range));
const take = (from: AddressPool) => formatAddress(from.take()!);

test("the lowest free address is given, without network and broadcast address", () => {
  const p = pool("10.0.0.0/29");
  p.reserve(parseAddress("10.0.0.1")!);
  expect([take(p), take(p), take(p)]).toEqual(["10.0.0.2", "10.0.0.3", "10.0.0.4"]);
  p.free(parseAddress("10.0.0.3")!);
  expect([take(p), take(p), take(p)]).toEqual(["10.0.0.3", "10.0.0.5", "10.0.0.6"]);
  expect(p.take()).toBeUndefined();
  p.free(parseAddress("10.0.0.2")!);
  expect(take(p)).toBe("10.0.0.2");
});

test("a range limits choices but not requests", () => {
  const p = pool("10.0.0.0/24", "10.0.0.128/30");
  expect(take(p)).toBe("10.0.0.128");
  expect(formatAddress(p.takeStatic(parseAddress("10.0.0.5")!))).toBe("10.0.0.5");
  expect(() => p.takeStatic(parseAddress("10.0.0.5")!)).toThrow("Address already in use");
  p.free(parseAddress("10.0.0.5")!); // below the range: must not become a choice
  expect(take(p)).toBe("10.0.0.129");
});

test("small and huge subnets work", () => {
  const two = pool("10.0.0.0/31");
  expect([take(two), take(two)]).toEqual(["10.0.0.0", "10.0.0.1"]);
  expect(take(pool("10.0.0.7/32"))).toBe("10.0.0.7");
  expect(take(pool("fd00::/64"))).toBe("fd00::1");
  expect(() => pool("10.0.0.0/24").takeStatic(parseAddress("10.0.0.255")!)).toThrow("Address already in use: 10.0.0.255");
});

test("an address given, freed and given again is quick in a full /16", () => {
  const p = pool("172.17.0.0/16");
  for (let i = 0; i < 60_000; i++) p.take();
  expect(p.status).toEqual({ inUse: 60_002n, available: 5_534n });
  p.free(parseAddress("172.17.0.9")!);
  expect(take(p)).toBe("172.17.0.9");
});

test("subnets come from the pools in order and skip what is in use", () => {
  const choose = (...taken: string[]) => formatSubnet(chooseSubnet({ pools: defaultPools, family: 4, taken: taken.map(block) }, [[]]));
  expect(choose()).toBe("172.17.0.0/16");
  expect(choose("172.17.5.0/24", "172.18.0.0/15")).toBe("172.20.0.0/16");
  expect(choose("172.16.0.0/12")).toBe("192.168.0.0/20");
  expect(choose("172.16.0.0/12", "192.168.17.0/24")).toBe("192.168.0.0/20");
  expect(choose("172.16.0.0/12", "192.168.0.0/24", "192.168.16.0/20")).toBe("192.168.32.0/20");
  expect(() => choose("0.0.0.0/0")).toThrow("all predefined address pools have been fully subnetted");
});

test("where dockerd gives up, after 31 networks, smaller subnets follow", () => {
  const taken: Subnet[] = [];
  for (let i = 0; i < 300; i++) taken.push(chooseSubnet({ pools: defaultPools, family: 4, taken }, [[]]));
  const texts = taken.map(formatSubnet);
  expect(texts.slice(14, 17)).toEqual(["172.31.0.0/16", "192.168.0.0/20", "192.168.16.0/20"]);
  expect(texts.slice(30, 32)).toEqual(["192.168.240.0/20", "172.16.0.0/24"]);
  expect(texts.slice(286, 288)).toEqual(["172.16.255.0/24", "10.0.0.0/24"]);
});

test("what the host uses is kept away from as far as that goes", () => {
  const choose = (...avoid: string[][]) =>
    formatSubnet(
      chooseSubnet(
        { pools: defaultPools, family: 4, taken: [block("172.17.0.0/16")] },
        avoid.map((each) => each.map(block)),
      ),
    );
  expect(choose(["172.18.0.0/16"], [])).toBe("172.19.0.0/16");
  // a VPN's routes cover every pool: only neighbours count then
  expect(choose(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "172.18.0.0/24"], ["172.18.0.0/24"])).toBe("172.19.0.0/16");
});

test("a size may be asked for", () => {
  const choose = (size: number, ...taken: string[]) => formatSubnet(chooseSubnet({ pools: defaultPools, family: 4, size, taken: taken.map(block) }, [[]]));
  expect(choose(24, "172.17.0.0/24", "172.17.1.0/25")).toBe("172.17.2.0/24");
  expect(choose(12, "172.17.0.0/24")).toBe("10.0.0.0/12");
  expect(() => choose(7)).toThrow("invalid address pool");
});

test("automatic IPv6 subnets follow from the engine's id", () => {
  expect(localPool("a")).toEqual(localPool("a"));
  expect(localPool("a")).not.toEqual(localPool("b"));
  expect(localPool("a").base).toMatch(/^fd[0-9a-f]{0,2}:[0-9a-f:]+::\/48$/);
});

test("a huge pool is left over an obstacle without counting through it", () => {
  expect(formatSubnet(chooseSubnet({ pools: [{ base: "fd00::/8", size: 64 }], family: 6, taken: [block("fd00::/9")] }, [[]]))).toBe("fd80::/64");
});
