import { expect, test } from "bun:test";
import { gateFields, type FieldGate } from "./versions.ts";

const gates: FieldGate[] = [
  { path: "New", since: 50 },
  { path: "Old", until: 44 },
  { path: "Networks.*.DNSNames", since: 44 },
  { path: "Deep.Missing.Field", since: 55 },
];
const answer = () => ({ New: 1, Old: 2, Networks: { a: { DNSNames: ["x"], IP: "1" }, b: null }, Deep: 3 });

test("fields come and go with the client's version", () => {
  expect(gateFields(answer(), gates, 24) as unknown).toEqual({ Old: 2, Networks: { a: { IP: "1" }, b: null }, Deep: 3 });
  expect(gateFields(answer(), gates, 44) as unknown).toEqual({ Networks: { a: { DNSNames: ["x"], IP: "1" }, b: null }, Deep: 3 });
  expect(gateFields(answer(), gates, 55) as unknown).toEqual({ New: 1, Networks: { a: { DNSNames: ["x"], IP: "1" }, b: null }, Deep: 3 });
});
