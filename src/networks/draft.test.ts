import { expect, test } from "bun:test";
import { withDefaultOptions } from "./draft.ts";

test("default options are the driver's, and the network's own go first", () => {
  const defaults = { bridge: { a: "1", b: "2", "com.docker.network.enable_ipv6": "true" }, macvlan: { parent: "eth0" } };
  expect(withDefaultOptions({ name: "x", options: { b: "3" } }, defaults)).toMatchObject({ options: { a: "1", b: "3" }, enableIPv6: true });
  expect(withDefaultOptions({ name: "x", enableIPv6: false }, defaults)).toEqual({ name: "x", enableIPv6: false, options: { a: "1", b: "2" } });
  expect(withDefaultOptions({ name: "x", driver: "macvlan" }, defaults).options).toEqual({ parent: "eth0" });
  expect(() => withDefaultOptions({ name: "x", options: { "com.docker.network.enable_ipv4": "no" } }, {})).toThrow(
    'driver-opt "com.docker.network.enable_ipv4" is not a valid bool',
  );
});
