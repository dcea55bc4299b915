import { expect, test } from "bun:test";
import { containerResolvConf, hostResolvConf, isAsGenerated, parseResolvConf, reachableServers } from "./resolv-conf.ts";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const host = parseResolvConf(
  "# comment\nnameserver 127.0.0.1\nnameserver 10.0.0.53 ; trailing\nnameserver fd00::53\nnameserver nonsense\nsearch a.example b.example\noptions edns0 timeout:2\n",
);
const dns = (network: string, changes: object = {}) =>
  containerResolvConf({ host: network === "host", networks: [network], ipv6: false, dns: [], search: [], options: [], ...changes }, host, host);

test("resolv.conf is read as libc reads it", () => {
  expect(host).toEqual({ nameservers: ["127.0.0.1", "10.0.0.53", "fd00::53"], search: ["a.example", "b.example"], options: ["edns0", "timeout:2"], other: [] });
});

test("on the default bridge loopback and IPv6 servers are left out, and public ones stand in for none", () => {
  expect(dns("bridge")).toContain("\nnameserver 10.0.0.53\nsearch a.example b.example\noptions edns0 timeout:2\n");
  expect(reachableServers(["127.0.0.1", "::1"], false)).toEqual(["8.8.8.8", "8.8.4.4"]);
});

test("host mode keeps the host's own; user networks name the engine's resolver", () => {
  expect(dns("host")).toContain("nameserver 127.0.0.1\nnameserver 10.0.0.53\nnameserver fd00::53\n");
  expect(dns("mine")).toContain("\nnameserver 127.0.0.11\nsearch a.example b.example\noptions edns0 timeout:2 ndots:0\n");
  expect(dns("mine", { options: ["ndots:2"] })).toContain("options ndots:2\n");
});

test("what the container asks for replaces what the host has", () => {
  const text = dns("bridge", { dns: ["127.0.0.1", "9.9.9.9"], search: ["."], options: ["rotate"] });
  expect(text).toContain("nameserver 127.0.0.1\nnameserver 9.9.9.9\noptions rotate\n");
  expect(text).not.toContain("search");
});

test("systemd-resolved's stub leads to the servers behind it", () => {
  const root = mkdtempSync(join(tmpdir(), "berth-resolv-"));
  const files = { main: join(root, "resolv.conf"), systemd: join(root, "systemd") };
  writeFileSync(files.main, "nameserver 127.0.0.53\noptions edns0\n");
  expect(hostResolvConf(files).nameservers).toEqual(["127.0.0.53"]);
  writeFileSync(files.systemd, "nameserver 10.0.0.1\n");
  expect(hostResolvConf(files).nameservers).toEqual(["10.0.0.1"]);
  rmSync(root, { recursive: true });
});

test("with IPv6 its servers are kept; a bad ndots isn't; lines of other kinds come along", () => {
  expect(dns("bridge", { ipv6: true })).toContain("\nnameserver 10.0.0.53\nnameserver fd00::53\nsearch");
  expect(reachableServers([], true)).toEqual(["8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844"]);
  expect(dns("mine", { options: ["ndots:x", "rotate"] })).toContain("options rotate ndots:0\n");
  const sorted = parseResolvConf("nameserver 10.0.0.1\nsortlist 10.0.0.0/8\n");
  expect(containerResolvConf({ host: false, networks: ["bridge"], ipv6: false, dns: [], search: [], options: [] }, sorted, sorted)).toContain(
    "\nsortlist 10.0.0.0/8\n",
  );
});

test("a file that was changed is known", () => {
  const text = dns("bridge");
  expect(isAsGenerated(text)).toBe(true);
  for (const other of ["", "nameserver 1.1.1.1\n", `${text}nameserver 1.1.1.1\n`, text.replace("10.0.0.53", "10.0.0.54")])
    expect(isAsGenerated(other)).toBe(false);
});
