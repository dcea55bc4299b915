import { expect, test } from "bun:test";
import { listenAddresses } from "./listen.ts";
import { defaultOptions } from "./options.ts";

const options = { ...defaultOptions(), group: "0" };

test("hosts in Docker's notation", () => {
  expect(listenAddresses("unix:///a/b.sock", options)).toEqual([{ kind: "unix", path: "/a/b.sock", group: "0" }]);
  expect(listenAddresses("unix://", options)).toEqual([{ kind: "unix", path: "/run/berth/berth.sock", group: "0" }]);
  expect(listenAddresses("tcp://127.0.0.1:99", options)).toEqual([{ kind: "tcp", host: "127.0.0.1", port: 99 }]);
  expect(listenAddresses("tcp://[::1]", options)).toEqual([{ kind: "tcp", host: "::1", port: 2375 }]);
  expect(listenAddresses("tcp://", options)).toEqual([{ kind: "tcp", host: "127.0.0.1", port: 2375 }]);
});

test.each(["/a/b.sock", "http://x", "tcp://a:b", "unix:/x"])("%p is refused", (host) => {
  expect(() => listenAddresses(host, options)).toThrow("want ");
});

test("fd:// without a socket handed over, TLS without files and an unknown group are refused with the next step", () => {
  expect(() => listenAddresses("fd://", options)).toThrow("systemd socket unit");
  expect(() => listenAddresses("tcp://", { ...options, tls: true, tlscert: "/nowhere/cert.pem" })).toThrow("TLS needs --tlscert FILE");
  expect(() => listenAddresses("unix:///s", { ...options, group: "no-such-group-here" })).toThrow("groupadd");
});
