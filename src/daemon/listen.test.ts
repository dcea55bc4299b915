import { expect, test } from "bun:test";
import { listenAddresses } from "./listen.ts";
import { defaultOptions, parseDaemonOptions } from "./options.ts";

const options = { ...defaultOptions(), group: "0" };

test("hosts in Docker's notation", () => {
  expect(listenAddresses("unix:///a/b.sock", options)).toEqual([{ kind: "unix", path: "/a/b.sock", group: "0" }]);
  expect(listenAddresses("unix://", options)).toEqual([{ kind: "unix", path: "/run/berth/berth.sock", group: "0" }]);
  expect(listenAddresses("tcp://127.0.0.1:99", options)).toEqual([{ kind: "tcp", host: "127.0.0.1", port: 99 }]);
  expect(listenAddresses("tcp://[::1]", options)).toEqual([{ kind: "tcp", host: "::1", port: 2375 }]);
  expect(listenAddresses("tcp://", options)).toEqual([{ kind: "tcp", host: "127.0.0.1", port: 2375 }]);
});

test.each(["/a/b.sock", "http://x", "tcp://a:b", "tcp://a:65536", "unix:/x"])("%p is refused", (host) => {
  expect(() => listenAddresses(host, options)).toThrow("want ");
});

test("sockets that were handed over: all, one by number, those of a name", () => {
  const given = { LISTEN_PID: String(process.pid), LISTEN_FDS: "3", LISTEN_FDNAMES: "api:other:api" };
  Object.assign(process.env, given);
  try {
    expect(listenAddresses("fd://", options)).toEqual([3, 4, 5].map((fd) => ({ kind: "fd", fd })));
    expect(listenAddresses("fd://*", options).length).toBe(3);
    expect(listenAddresses("fd://4", options)).toEqual([{ kind: "fd", fd: 4 }]);
    expect(listenAddresses("fd://api", options)).toEqual([3, 5].map((fd) => ({ kind: "fd", fd })));
    expect(() => listenAddresses("fd://nope", options)).toThrow("no such socket was handed over");
    const hosts = (...flags: string[]): string[] => parseDaemonOptions(["--config-file", "/dev/null", ...flags]).hosts;
    expect(hosts()).toEqual(["fd://"]);
    expect(hosts("--host", "tcp://127.0.0.1:1")).toEqual(["tcp://127.0.0.1:1", "fd://"]);
    expect(hosts("--host", "fd://api")).toEqual(["fd://api"]);
    process.env["LISTEN_PID"] = "1";
    expect(hosts()).toEqual(["unix:///run/berth/berth.sock"]);
  } finally {
    for (const name of Object.keys(given)) delete process.env[name];
  }
});

test("fd:// without a socket handed over, TLS without files and an unknown group are refused with the next step", () => {
  expect(() => listenAddresses("fd://", options)).toThrow("systemd socket unit");
  expect(() => listenAddresses("tcp://", { ...options, tls: true, tlscert: "/nowhere/cert.pem" })).toThrow("TLS needs --tlscert FILE");
  expect(() => listenAddresses("unix:///s", { ...options, group: "no-such-group-here" })).toThrow("groupadd");
});
