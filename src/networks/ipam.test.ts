import { expect, test } from "bun:test";
import { formatAddress, formatSubnet, parseAddress, parsePrefix } from "../lib/address.ts";
import { AddressPool, chooseSubnet, defaultPools } from "./ipam.ts";

const block = (text: string) => parsePrefix(text)!.subnet;
const pool = (text: string, range?: string) => new AddressPool(block(text), range === undefined ? undefined : block(range));
const take = (from: AddressPool) => formatAddress(from.take());

test("the lowest free address is given, without network and broadcast address", () => {
  const p = pool("10.0.0.0/29");
  p.reserve(parseAddress("10.0.0.1")!);
  expect([take(p), take(p), take(p)]).toEqual(["10.0.0.2", "10.0.0.3", "10.0.0.4"]);
  p.free(parseAddress("10.0.0.3")!);
  expect([take(p), take(p), take(p)]).toEqual(["10.0.0.3", "10.0.0.5", "10.0.0.6"]);
  expect(() => p.take()).toThrow("no available IPv4 addresses");
  p.free(parseAddress("10.0.0.2")!);
  expect(take(p)).toBe("10.0.0.2");
});

test("a range limits choices but not requests", () => {
  const p = pool("10.0.0.0/24", "10.0.0.128/30");
  expect(take(p)).toBe("10.0.0.128");
  expect(formatAddress(p.takeStatic(parseAddress("10.0.0.5")!))).toBe("10.0.0.5");
  expect(() => p.takeStatic(parseAddress("10.0.0.5")!)).toThrow("Address already in use");
  expect(() => p.takeStatic(parseAddress("10.0.1.5")!)).toThrow("no configured subnet contains IP address 10.0.1.5");
  p.free(parseAddress("10.0.0.5")!); // below the range: must not become a choice
  expect(take(p)).toBe("10.0.0.129");
});

test("small and huge subnets work", () => {
  const two = pool("10.0.0.0/31");
  expect([take(two), take(two)]).toEqual(["10.0.0.0", "10.0.0.1"]);
  expect(take(pool("fd00::/64"))).toBe("fd00::1");
});

test("an address given, freed and given again is quick in a full /16", () => {
  const p = pool("172.17.0.0/16");
  for (let i = 0; i < 60_000; i++) p.take();
  expect(p.inUse).toBe(60_000);
  p.free(parseAddress("172.17.0.9")!);
  expect(take(p)).toBe("172.17.0.9");
});

test("subnets come from the pools in order and skip what is in use", () => {
  const choose = (...taken: string[]) => formatSubnet(chooseSubnet(defaultPools, 4, taken.map(block)));
  expect(choose()).toBe("172.17.0.0/16");
  expect(choose("172.17.5.0/24", "172.18.0.0/15")).toBe("172.20.0.0/16");
  expect(choose("172.16.0.0/12")).toBe("192.168.0.0/20");
  expect(choose("172.16.0.0/12", "192.168.17.0/24")).toBe("192.168.0.0/20");
  expect(choose("172.16.0.0/12", "192.168.0.0/24", "192.168.16.0/20")).toBe("192.168.32.0/20");
  expect(() => choose("0.0.0.0/0")).toThrow("all predefined address pools have been fully subnetted");
});

test("a huge pool is left over an obstacle without counting through it", () => {
  expect(formatSubnet(chooseSubnet([{ base: "fd00::/8", size: 64 }], 6, [block("fd00::/9")]))).toBe("fd80::/64");
});
