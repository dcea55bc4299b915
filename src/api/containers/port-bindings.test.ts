import { describe, expect, test } from "bun:test";
import { check, list, map, object, text } from "../schema.ts";
import { portBindings } from "./port-bindings.ts";

const plain = map(list(object({ HostIp: text.optional(), HostPort: text.optional() })));
const readBy = (schema: typeof plain | typeof portBindings, json: string): unknown => {
  try {
    return check(object({ PortBindings: schema.optional() }), { PortBindings: JSON.parse(json) });
  } catch (error) {
    return (error as Error).message;
  }
};

describe("port bindings are read as the general schema reads them", () => {
  for (const json of [
    "{}",
    "null",
    "3",
    "[]",
    '{"80/tcp": null, "81/tcp": []}',
    '{"80/tcp": [{"HostPort": "1"}, null, {"hostip": "::1", "HOSTPORT": null, "Future": 1}]}',
    '{"80/tcp": [null, {"HostPort": 1}]}',
    '{"80/tcp": [{"HostIp": []}]}',
    '{"80/tcp": ["1"]}',
    '{"80/tcp": [[]]}',
    '{"80/tcp": {"HostPort": "1"}}',
    '{"80/tcp": "1"}',
    '{"__proto__": [{"HostPort": "1"}], "80/tcp": [{"__proto__": {"HostPort": "1"}}]}',
  ])
    test(json, () => expect(readBy(portBindings, json)).toEqual(readBy(plain, json)));
});
