import { expect, test } from "bun:test";
import { countRounds } from "../../test/rounds.ts";
import { attribute, message, nested, NLM_F_ACK, NLM_F_DUMP, parseAttributes, text, u16be, u32, u32be, u8 } from "./netlink.ts";
import { addressesOf, addVeth, findLink, listAddresses, listRoutes, openRouteSocket } from "./netlink-route.ts";
import { addElements, batch, concatenation, deleteElements } from "./nftables-batch.ts";

test("attributes are padded to four bytes and read back", () => {
  const data = Buffer.concat([text(3, "eth0"), u8(1, 7), u16be(2, 258), u32(4, 0xfffffffe), u32be(5, 1), nested(18, text(1, "veth"))]);
  expect(data.length % 4).toBe(0);
  const read = parseAttributes(data);
  expect(read.get(3)!.toString()).toBe("eth0\0");
  expect(read.get(1)![0]).toBe(7);
  expect(read.get(2)!.readUInt16BE()).toBe(258);
  expect(read.get(4)!.readUInt32LE()).toBe(0xfffffffe);
  expect(read.get(5)!.readUInt32BE()).toBe(1);
  expect(parseAttributes(read.get(18)!).get(1)!.toString()).toBe("veth\0");
});

test("broken attributes end the reading instead of looping or throwing", () => {
  const long = attribute(1, Buffer.alloc(4));
  long.writeUInt16LE(400, 0);
  expect(parseAttributes(long).size).toBe(0);
  expect(parseAttributes(Buffer.alloc(8)).size).toBe(0); // a length of 0
  expect(parseAttributes(Buffer.of(1, 2, 3)).size).toBe(0);
});

test("a message carries its length, type and flags", () => {
  const { bytes } = message("x", 16, NLM_F_ACK, Buffer.alloc(16), text(3, "a"));
  expect([bytes.readUInt32LE(0), bytes.readUInt16LE(4), bytes.readUInt16LE(6)]).toEqual([40, 16, 5]);
});

test("a veth's peer is born in the namespace under its final name", () => {
  const { bytes } = addVeth({ host: "veth1", namespace: 9, peer: "eth0", mac: Uint8Array.of(2, 66, 172, 17, 0, 2) });
  const top = parseAttributes(bytes, 32);
  const data = parseAttributes(parseAttributes(top.get(18)!).get(2)!);
  const peer = parseAttributes(data.get(1)!, 16);
  expect(top.get(3)!.toString()).toBe("veth1\0");
  expect(peer.get(3)!.toString()).toBe("eth0\0");
  expect(peer.get(28)!.readUInt32LE()).toBe(9);
  expect(peer.get(1)!.toString("hex")).toBe("0242ac110002");
});

test("map elements: concatenated keys are padded part by part, deletions carry no value", () => {
  const key = concatenation(Uint8Array.of(6), Uint8Array.of(0x1f, 0x90));
  expect(key.toString("hex")).toBe("060000001f900000");
  const value = concatenation(Uint8Array.of(172, 17, 0, 2), Uint8Array.of(0, 80));
  const [begin, add, end] = batch(addElements({ table: "t", family: "inet", set: "p4" }, [{ key, value }]));
  expect([begin!.bytes.readUInt16LE(4), end!.bytes.readUInt16LE(4)]).toEqual([0x10, 0x11]);
  expect(add!.bytes.readUInt16LE(6) & NLM_F_ACK).toBe(NLM_F_ACK);
  expect(add!.bytes.includes(value)).toBe(true);
  expect(deleteElements({ table: "t", family: "inet", set: "p4" }, [{ key, value }])[0]!.bytes.includes(value)).toBe(false);
});

test("the kernel answers: lo is there, nothing is where nothing is", () => {
  using socket = openRouteSocket();
  expect(findLink(socket, "lo")).toMatchObject({ index: 1, name: "lo" });
  expect(findLink(socket, "no-such-link")).toBeUndefined();
  expect(listAddresses(socket).length).toBeGreaterThan(0);
});

test("lists are of what was asked for alone", () => {
  using socket = openRouteSocket();
  const lists = (index: number): number[] => addressesOf(socket, index).map((entry) => entry.index);
  expect(new Set(lists(1))).toEqual(new Set([1]));
  expect(addressesOf(socket, 1)).toEqual(listAddresses(socket).filter(({ index }) => index === 1));
  expect(lists(0x7fffffff)).toEqual([]);
  const isOwn = new Set(listAddresses(socket).map(({ address }) => Buffer.from(address).toString("hex")));
  // those of local addresses are in another table
  expect(listRoutes(socket).filter(({ destination }) => isOwn.has(Buffer.from(destination).toString("hex")))).toEqual([]);
});

test("a dump in turns: the same, with everything else in between", async () => {
  using socket = openRouteSocket();
  const RTM_GETROUTE = 26;
  const routes = () => message("routes", RTM_GETROUTE, NLM_F_DUMP, Buffer.alloc(12));
  const atOnce = socket.dump(routes()).map((payload) => payload.toString("hex"));
  expect(atOnce.length).toBeGreaterThan(1);
  using rounds = countRounds();
  const inTurns = await socket.dumpInTurns(routes(), (payload) => {
    Bun.sleepSync(3);
    return payload.toString("hex");
  });
  expect(inTurns).toEqual(atOnce);
  expect(rounds.count).toBeGreaterThanOrEqual(atOnce.length - 1);
});
