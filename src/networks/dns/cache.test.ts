import { expect, test } from "bun:test";
import { questionOf, responseTo } from "../../../test/fixtures/dns-loop.ts";
import { Cache } from "./cache.ts";
import { parseQuery } from "./message.ts";

const asked = (name: string, options?: Parameters<typeof questionOf>[2]) => {
  const message = questionOf(name, 1, options);
  return { message, query: parseQuery(message)! };
};
const www = asked("www.example");

test("an answer holds as long as its shortest record, and says how long it still does", () => {
  const cache = new Cache(1 << 16);
  cache.put(www.query, responseTo(www.message, { answers: [7], ttl: 60 }), 1000);
  const other = asked("WWW.Example", { id: 0x4321 });
  const reply = Buffer.from(cache.get(other.message, other.query, 512, 21_500)!);
  expect(reply.readUInt16BE(0)).toBe(0x4321);
  expect(reply.toString("latin1", 13, 16)).toBe("WWW"); // in the case of who asks
  expect(reply.readUInt32BE(www.query.questionEnd + 6)).toBe(40);
  expect(cache.get(www.message, www.query, 512, 61_000)).toBeUndefined();
  expect(cache.bytes).toBe(0);
});

test("that there is no such name holds as its zone says, and not at all where no zone does", () => {
  const cache = new Cache(1 << 16);
  cache.put(www.query, responseTo(www.message, { code: 3 }), 0);
  expect(cache.get(www.message, www.query, 512, 0)).toBeUndefined();
  cache.put(www.query, responseTo(www.message, { code: 3, soa: [900, 30] }), 0);
  expect(cache.get(www.message, www.query, 512, 29_000)).toBeDefined();
  expect(cache.get(www.message, www.query, 512, 30_000)).toBeUndefined();
});

test("failures, answers without time and broken ones aren't kept", () => {
  const cache = new Cache(1 << 16);
  cache.put(www.query, responseTo(www.message, { code: 2, soa: [900, 900] }).subarray(0, -1), 0);
  cache.put(www.query, responseTo(www.message, { code: 2, answers: [7] }), 0);
  cache.put(www.query, responseTo(www.message, { answers: [7], ttl: 0 }), 0);
  cache.put(www.query, responseTo(www.message, { answers: [7], ttl: 0x80000000 }), 0);
  expect(cache.bytes).toBe(0);
});

test("an answer that is too long for a client is cut after as many records as fit, and says so", () => {
  const cache = new Cache(1 << 16);
  cache.put(www.query, responseTo(www.message, { answers: Array.from({ length: 60 }, (_, i) => i), soa: [60, 60] }), 0);
  const small = Buffer.from(cache.get(www.message, www.query, 512, 0)!);
  expect([small.length <= 512, small.readUInt16BE(6), small.readUInt16BE(8), small[2]! & 2]).toEqual([true, Math.floor((512 - 29) / 16), 0, 2]);
  expect(small.length).toBe(29 + 16 * small.readUInt16BE(6));
  const large = Buffer.from(cache.get(www.message, www.query, 65_535, 0)!);
  expect([large.readUInt16BE(6), large.readUInt16BE(8), large[2]! & 2]).toEqual([60, 1, 0]);
});

test("what is asked for with DNSSEC, or without recursion, is another question", () => {
  const cache = new Cache(1 << 16);
  cache.put(www.query, responseTo(www.message, { answers: [7] }), 0);
  for (const other of [asked("www.example", { size: 4096 }), asked("www.example", { flags: 0 }), asked("www.example", { flags: 0x0110 })]) {
    expect(cache.get(other.message, other.query, 4096, 0)).toBeUndefined();
  }
});

test("memory is bounded: what was used longest ago goes", () => {
  const cache = new Cache(40_000);
  const put = (name: string): void => {
    const { message, query } = asked(name);
    cache.put(query, responseTo(message, { answers: [1] }), 0);
  };
  put("kept.example");
  put("gone.example");
  for (let i = 0; i < 5000; i++) {
    put(`name-${i}.example`);
    const kept = asked("kept.example");
    expect(cache.get(kept.message, kept.query, 512, 0)).toBeDefined();
    expect(cache.bytes).toBeLessThanOrEqual(40_000);
  }
  const gone = asked("gone.example");
  expect(cache.get(gone.message, gone.query, 512, 0)).toBeUndefined();
});
