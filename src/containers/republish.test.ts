import { expect, test } from "bun:test";
import type { PublishedPort } from "../networks/types.ts";
import type { HostConfig, PortUpdate } from "../oci/container.ts";
import { planPorts } from "./republish.ts";

const port = (text: string): PublishedPort => {
  const [, hostIp, hostPort, containerPort, proto] = /^(.*):(\d+)->(\d+)\/(\w+)$/.exec(text)!;
  return { proto: proto as PublishedPort["proto"], containerPort: Number(containerPort), hostIp: hostIp!, hostPort: Number(hostPort) };
};

/** [PortBindings, what goes of the bound ports], with `-P` marked. */
function plan(host: HostConfig, asked: PortUpdate, bound: string[] = [], exposed: string[] = []): unknown {
  const ports = planPorts("web", { host, exposed: Object.fromEntries(exposed.map((key) => [key, {}])), bound: bound.map(port) }, asked);
  if (ports === undefined) return undefined;
  const bindings = Object.entries(ports.host.PortBindings ?? {}).flatMap(([key, list]) => (list ?? []).map((b) => `${b.HostIp}:${b.HostPort}->${key}`));
  const gone = ports.remove.map((p) => `${p.hostIp}:${p.hostPort}->${p.containerPort}/${p.proto}`);
  return [bindings, gone, ...(ports.host.PublishAllPorts === true ? ["-P"] : [])];
}

const two: HostConfig = { PortBindings: { "80/tcp": [{ HostPort: "8080" }, { HostIp: "127.0.0.1", HostPort: "8081" }], "53/udp": [{ HostPort: "8080" }] } };
const twoBound = ["0.0.0.0:8080->80/tcp", ":::8080->80/tcp", "127.0.0.1:8081->80/tcp", "0.0.0.0:8080->53/udp", ":::8080->53/udp"];

test("nothing asked is no change", () => {
  expect(plan(two, {})).toBeUndefined();
  expect(plan(two, { PublishAdd: {}, PublishRemove: [] })).toBeUndefined();
  expect(plan(two, { PublishAdd: null, PublishRemove: null })).toBeUndefined();
});

test("ports are added to what is there", () => {
  expect(plan(two, { PublishAdd: { "80": [{ HostPort: "9000" }], "81/tcp": [{}] } }, twoBound)).toEqual([
    [":8080->80/tcp", "127.0.0.1:8081->80/tcp", ":9000->80/tcp", ":8080->53/udp", ":->81/tcp"],
    [],
  ]);
});

test("a removal names a host port: of tcp and all addresses, where it says no more", () => {
  const rest = [":8080->80/tcp", "127.0.0.1:8081->80/tcp", ":8080->53/udp"];
  const removing = (HostPort: string, more: { HostIp?: string; Protocol?: string } = {}, bound = twoBound) =>
    plan(two, { PublishRemove: [{ HostPort, ...more }] }, bound);
  for (const bound of [twoBound, []]) {
    const gone = (index: number, count: number): string[] => (bound.length === 0 ? [] : twoBound.slice(index, index + count));
    expect(removing("8080", {}, bound)).toEqual([rest.slice(1), gone(0, 2)]);
    expect(removing("8080", { Protocol: "UDP" }, bound)).toEqual([rest.slice(0, 2), gone(3, 2)]);
    expect(removing("8081", { HostIp: "127.0.0.1" }, bound)).toEqual([[rest[0], rest[2]], gone(2, 1)]);
    expect(removing("8000-9000", {}, bound)).toEqual([[rest[2]], gone(0, 3)]);
    expect(() => removing("8081", { HostIp: "127.0.0.2" }, bound)).toThrow("container web publishes no host port 127.0.0.2:8081/tcp");
    expect(() => removing("80", {}, bound)).toThrow("container web publishes no host port 80/tcp");
  }
  for (const bad of ["", "0", "x", "1-", "9-8", "70000"]) expect(() => removing(bad)).toThrow(/invalid port specification|publishes no host port/);
  expect(() => removing("80", { Protocol: "icmp" })).toThrow("invalid port specification");
  expect(() => removing("80", { HostIp: "localhost" })).toThrow("invalid port specification");
});

test("what was asked for is told by what it has become: ranges, free ports, -P", () => {
  const host: HostConfig = { PortBindings: { "80/tcp": [{}, { HostPort: "8000-8010" }, { HostPort: "8003" }] } };
  const bound = ["0.0.0.0:32768->80/tcp", ":::32768->80/tcp", "0.0.0.0:8000->80/tcp", ":::8000->80/tcp", "0.0.0.0:8003->80/tcp", ":::8003->80/tcp"];
  expect(plan(host, { PublishRemove: [{ HostPort: "32768" }] }, bound)).toEqual([[":8000-8010->80/tcp", ":8003->80/tcp"], bound.slice(0, 2)]);
  expect(plan(host, { PublishRemove: [{ HostPort: "8000" }] }, bound)).toEqual([[":->80/tcp", ":8003->80/tcp"], bound.slice(2, 4)]);
  expect(plan(host, { PublishRemove: [{ HostPort: "8003" }] }, bound)).toEqual([[":->80/tcp", ":8000-8010->80/tcp"], bound.slice(4)]);
  expect(plan(host, { PublishRemove: [{ HostPort: "8000-8010" }] })).toEqual([[":->80/tcp"], []]);
  const all: HostConfig = { PublishAllPorts: true, PortBindings: { "80/tcp": [{ HostPort: "8080" }] } };
  const allBound = ["0.0.0.0:8080->80/tcp", "0.0.0.0:32768->81/tcp", "0.0.0.0:32769->82/udp"];
  expect(plan(all, { PublishRemove: [{ HostPort: "8080" }] }, allBound, ["80/tcp", "81/tcp", "82/udp"])).toEqual([
    [":->81/tcp", ":->82/udp"],
    allBound.slice(0, 1),
  ]);
  expect(plan(all, { PublishRemove: [{ HostPort: "32768" }] }, allBound, ["80/tcp", "81/tcp", "82/udp"])).toEqual([
    [":8080->80/tcp", ":->82/udp"],
    allBound.slice(1, 2),
  ]);
  expect(plan(all, { PublishAdd: { "81/tcp": [{ HostPort: "9000" }] } }, allBound, ["80/tcp", "81/tcp", "82/udp"])).toEqual([
    [":8080->80/tcp", ":->81/tcp", ":9000->81/tcp"],
    [],
    "-P",
  ]);
});

test("a port can change its owner in one step, and none is given twice", () => {
  expect(plan(two, { PublishRemove: [{ HostPort: "8080" }], PublishAdd: { "90/tcp": [{ HostPort: "8080" }] } }, twoBound)).toEqual([
    ["127.0.0.1:8081->80/tcp", ":8080->53/udp", ":8080->90/tcp"],
    twoBound.slice(0, 2),
  ]);
  const twice = (HostIp: string, HostPort: string, key = "99/tcp") => plan(two, { PublishAdd: { [key]: [{ HostIp, HostPort }] } });
  expect(() => twice("", "8080")).toThrow("Bind for 0.0.0.0:8080 failed: port is already allocated");
  expect(() => twice("10.0.0.1", "8080")).toThrow("port is already allocated");
  expect(() => twice("", "8081")).toThrow("port is already allocated");
  expect(twice("10.0.0.1", "8081")).toBeDefined();
  expect(twice("", "8080", "99/sctp")).toBeDefined();
  expect(() => plan({}, { PublishAdd: { "1/tcp": [{ HostPort: "5" }], "2/tcp": [{ HostPort: "5" }] } })).toThrow("port is already allocated");
});
