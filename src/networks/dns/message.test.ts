import { expect, test } from "bun:test";
import { formatAddress } from "../../lib/address.ts";
import {
  addressAnswer,
  answersQuestion,
  ask,
  codeOf,
  isNameable,
  lifetimeOf,
  nameAnswer,
  parseQuery,
  recordType,
  refusalOf,
  respond,
  reuse,
  reverseAddress,
} from "./message.ts";

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");
/** id 0x1234, RD, one question: www.example A IN. */
const question = hex("1234 0100 0001 0000 0000 0000 03777777 076578616d706c65 00 0001 0001");

test("a plain question is read", () => {
  expect(parseQuery(question)).toEqual({ id: 0x1234, flags: 0x0100, name: "www.example", type: recordType.A, questionEnd: question.length, udpSize: 512 });
});

test("the client's size for UDP is taken from EDNS, never below 512", () => {
  const withOpt = (size: string): Buffer => {
    const message = Buffer.concat([question, hex(`00 0029 ${size} 00000000 0000`)]);
    message.writeUInt16BE(1, 10);
    return message;
  };
  expect(parseQuery(withOpt("1000"))!.udpSize).toBe(4096);
  expect(parseQuery(withOpt("0010"))!.udpSize).toBe(512);
  expect(parseQuery(withOpt("1000").subarray(0, -3))!.udpSize).toBe(512);
});

test("what is no question is refused, cut off at any byte too", () => {
  for (let length = 0; length < question.length; length++) expect(parseQuery(question.subarray(0, length))).toBeUndefined();
  const broken = (at: number, value: number): Buffer => {
    const copy = Buffer.from(question);
    copy[at] = value;
    return copy;
  };
  expect(parseQuery(broken(2, 0x80))).toBeUndefined(); // a response
  expect(parseQuery(broken(2, 0x28))).toBeUndefined(); // another operation
  expect(parseQuery(broken(5, 2))).toBeUndefined(); // two questions
  expect(parseQuery(broken(12, 0xc0))).toBeUndefined(); // a pointer
  expect(parseQuery(broken(12, 63))).toBeUndefined(); // a label past the end
  expect(parseQuery(broken(question.length - 1, 3))).toBeUndefined(); // another class
  const endless = Buffer.concat([question.subarray(0, 12), Buffer.alloc(400, 1)]);
  expect(parseQuery(endless)).toBeUndefined();
});

test("answers follow the question; those that don't fit are left out and said so", () => {
  const query = parseQuery(question)!;
  const answer = addressAnswer(Uint8Array.of(10, 0, 0, 7));
  const reply = respond(question, query, 0, [answer], 512);
  expect(reply.toString("hex")).toBe(`12348180000100010000000003777777076578616d706c650000010001${"c00c000100010000000a00040a000007"}`);
  const many = respond(
    question,
    query,
    0,
    Array.from({ length: 100 }, () => answer),
    512,
  );
  expect(many.length).toBeLessThanOrEqual(512);
  expect(many.readUInt16BE(2) & 0x0200).toBe(0x0200);
  expect(many.readUInt16BE(6)).toBe(Math.floor((512 - question.length) / 16));
  expect(codeOf(respond(question, query, 2, [], 512))).toBe(2);
});

test("reverse names stand for addresses in both families", () => {
  expect(formatAddress(reverseAddress("2.0.17.172.in-addr.arpa")!)).toBe("172.17.0.2");
  const six = `${"1.0.0.0.".repeat(1)}${"0.0.0.0.".repeat(6)}0.0.d.f.ip6.arpa`;
  expect(formatAddress(reverseAddress(six)!)).toBe("fd00::1");
  for (const name of ["17.172.in-addr.arpa", "300.0.17.172.in-addr.arpa", "x.ip6.arpa", "in-addr.arpa"]) expect(reverseAddress(name)).toBeUndefined();
  expect(Buffer.from(nameAnswer("web.net").data).toString("latin1")).toBe("\x03web\x03net\0");
});

test("only a response to the same question counts, in whatever case", () => {
  const query = parseQuery(question)!;
  const reply = respond(question, query, 0, [], 512);
  expect(answersQuestion(reply, question, query)).toBe(true);
  expect(answersQuestion(question, question, query)).toBe(false);
  expect(answersQuestion(Buffer.from(reply.toString("latin1").replace("www", "WWW"), "latin1"), question, query)).toBe(true);
  expect(answersQuestion(Buffer.from(reply.toString("latin1").replace("www", "ww2"), "latin1"), question, query)).toBe(false);
  expect(answersQuestion(reply.subarray(0, 14), question, query)).toBe(false);
});

test("a server is asked with an id of ours, the client's flags and size, and none of its options", () => {
  const cookie = Buffer.concat([question, hex("00 0029 04d0 00008000 000c 000a0008 0102030405060708")]);
  cookie.writeUInt16BE(0x0130, 2);
  cookie.writeUInt16BE(1, 10);
  const query = parseQuery(cookie)!;
  expect(ask(cookie, query, 0xbeef).toString("hex")).toBe(
    "beef0130000100000000000103777777076578616d706c650000010001" + "000029" + "04d0" + "00008000" + "0000",
  );
  expect(ask(question, parseQuery(question)!, 1).length).toBe(question.length);
});

test("what can't be read is answered with its id alone: broken, or something that we don't do", () => {
  expect(refusalOf(question.subarray(0, 11))).toBeUndefined();
  expect(refusalOf(hex("1234 8100 0001 0000 0000 0000"))).toBeUndefined();
  expect(refusalOf(hex("1234 0100 0000 0000 0000 0000"))!.toString("hex")).toBe("123481810000000000000000");
  expect(codeOf(refusalOf(hex("1234 2900 0001 0000 0000 0000"))!)).toBe(4); // an update
});

test("names that DNS can't carry are known", () => {
  for (const name of ["", "a..b", ".a", "x".repeat(64), `${"a.".repeat(127)}`]) expect(isNameable(name)).toBe(false);
  expect(isNameable(`${"x".repeat(63)}.b`)).toBe(true);
});

test("no bytes, however broken, make anything throw", () => {
  let state = 42;
  const random = (most: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % most;
  };
  const query = parseQuery(question)!;
  const reply = respond(
    question,
    query,
    0,
    Array.from({ length: 5 }, (_, i) => addressAnswer(Uint8Array.of(10, 0, 0, i))),
    512,
  );
  for (let i = 0; i < 20_000; i++) {
    const broken = Buffer.from((i % 2 === 0 ? reply : question).subarray(0, 1 + random(reply.length)));
    for (let j = random(6); j >= 0; j--) broken[random(broken.length)] = random(256);
    const parsed = parseQuery(broken);
    if (parsed === undefined) refusalOf(broken);
    else respond(broken, parsed, 0, [], parsed.udpSize);
    if (!answersQuestion(broken, question, { ...query, id: 0 }) || broken.length < query.questionEnd) continue;
    lifetimeOf(broken, query);
    expect(reuse(broken, [], 0, question, query, 60).length).toBeLessThanOrEqual(Math.max(60, query.questionEnd));
  }
});
