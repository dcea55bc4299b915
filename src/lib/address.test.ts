import { expect, test } from "bun:test";
import { bytesOf, contains, formatAddress, formatMac, formatSubnet, macFor, overlaps, parseAddress, parseMac, parsePrefix } from "./address.ts";

test("addresses survive parsing and formatting in canonical form", () => {
  for (const [text, canonical] of [
    ["172.17.0.2", "172.17.0.2"],
    ["255.255.255.255", "255.255.255.255"],
    ["::", "::"],
    ["::1", "::1"],
    ["fd00:0:0:1:0:0:0:1", "fd00:0:0:1::1"],
    ["2001:DB8::a:0:0:1", "2001:db8::a:0:0:1"],
    ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"],
    ["::ffff:10.1.2.3", "10.1.2.3"],
    ["64:ff9b::10.1.2.3", "64:ff9b::a01:203"],
  ]) {
    expect(formatAddress(parseAddress(text!)!)).toBe(canonical!);
  }
});

test("what is no address is refused", () => {
  for (const text of ["", "1.2.3", "1.2.3.256", "01.2.3.4 ", "fe80::1%eth0", "1::2::3", "localhost"]) expect(parseAddress(text)).toBeUndefined();
  for (const text of ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "fd00::/129", "/8", "10.0.0.0/8/8"]) expect(parsePrefix(text)).toBeUndefined();
});

test("prefixes keep the address and give the block", () => {
  const { address, subnet } = parsePrefix("172.26.3.1/16")!;
  expect(formatAddress(address)).toBe("172.26.3.1");
  expect(formatSubnet(subnet)).toBe("172.26.0.0/16");
  expect(formatSubnet(parsePrefix("fd00:1::77/64")!.subnet)).toBe("fd00:1::/64");
});

test("blocks overlap and contain within one family only", () => {
  const block = (text: string) => parsePrefix(text)!.subnet;
  expect(overlaps(block("10.0.0.0/8"), block("10.255.0.0/16"))).toBe(true);
  expect(overlaps(block("10.0.0.0/9"), block("10.128.0.0/9"))).toBe(false);
  expect(overlaps(block("0.0.0.0/0"), block("::/0"))).toBe(false);
  expect(contains(block("10.0.0.0/30"), parseAddress("10.0.0.3")!)).toBe(true);
  expect(contains(block("10.0.0.0/30"), parseAddress("10.0.0.4")!)).toBe(false);
});

test("MACs follow the address as Docker's do; multicast ones are refused", () => {
  expect(formatMac(macFor(parseAddress("172.17.0.2")!))).toBe("02:42:ac:11:00:02");
  expect(bytesOf(parseAddress("::1")!)).toHaveLength(16);
  expect(formatMac(parseMac("02-42-AC-11-00-03")!)).toBe("02:42:ac:11:00:03");
  expect(parseMac("01:00:5e:00:00:01")).toBeUndefined();
  expect(parseMac("02:42:ac:11:00")).toBeUndefined();
});
