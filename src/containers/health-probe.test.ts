import { describe, expect, test } from "bun:test";
import { healthProbe, healthWarnings } from "./health-probe.ts";

const of = (Test: string[], more: { Labels?: Record<string, string>; Shell?: string[] } = {}): ReturnType<typeof healthProbe> =>
  healthProbe({ Healthcheck: { Test }, ...more });
const v4 = Uint8Array.of(127, 0, 0, 1);
const v6 = new Uint8Array(16).fill(1, 15);

describe("what a container is asked", () => {
  test("commands", () => {
    expect(of(["CMD", "a", "b c"])).toEqual({ kind: "command", args: ["a", "b c"] });
    expect(of(["CMD-SHELL", "a b"])).toEqual({ kind: "command", args: ["/bin/sh", "-c", "a b"] });
    expect(of(["CMD-SHELL", "echo $0", "x"], { Shell: ["/bin/bash", "-ec"] })).toEqual({ kind: "command", args: ["/bin/bash", "-ec", "echo $0", "x"] });
  });

  test("nothing", () => {
    for (const list of [[], [""], ["NONE"], ["NONE", "x"], ["WAT", "x"]]) expect(of(list)).toBeUndefined();
    expect(healthProbe({})).toBeUndefined();
    expect(of(["NONE"], { Labels: { "berth.healthcheck": "tcp://:80" } })).toBeUndefined();
    expect(healthWarnings({ Healthcheck: { Test: ["WAT"] } })).toEqual(["Unknown healthcheck type 'WAT': the container has no health check"]);
    expect(healthWarnings({ Healthcheck: { Test: ["TCP", ":1"] } })).toEqual([]);
  });

  test("ports and pages", () => {
    expect(of(["TCP", ":5432"])).toEqual({ kind: "tcp", addresses: [v4, v6], host: "localhost", port: 5432 });
    expect(of(["TCP", "10.0.0.7:80"])).toEqual({ kind: "tcp", addresses: [Uint8Array.of(10, 0, 0, 7)], host: "10.0.0.7", port: 80 });
    expect(of(["TCP", "[::1]:80"])).toEqual({ kind: "tcp", addresses: [v6], host: "::1", port: 80 });
    expect(of(["HTTP", "http://localhost:8080/health?full=1"])).toMatchObject({ kind: "http", host: "localhost", port: 8080, path: "/health?full=1" });
    expect(of(["HTTP", "http://:8080"])).toMatchObject({ port: 8080, path: "/" });
    expect(of(["HTTP", "localhost/x"])).toMatchObject({ port: 80, path: "/x" });
  });

  test("the label goes before the command, so that other engines have that", () => {
    expect(of(["CMD", "curl"], { Labels: { "berth.healthcheck": "http://:9000/up" } })).toMatchObject({ kind: "http", port: 9000, path: "/up" });
    expect(healthProbe({ Labels: { "berth.healthcheck": "tcp://:1" } })).toMatchObject({ kind: "tcp", port: 1 });
    expect(of(["CMD", "curl"], { Labels: { "berth.healthcheck": "" } })).toMatchObject({ kind: "command" });
  });

  const wrong: [string[], string][] = [
    [["TCP"], "it takes one address"],
    [["TCP", ":80", ":81"], "it takes one address"],
    [["TCP", "localhost"], "a port from 1 to 65535"],
    [["TCP", ":0"], "a port from 1 to 65535"],
    [["TCP", ":65536"], "a port from 1 to 65535"],
    [["TCP", ":80/x"], "a tcp address has no path"],
    [["TCP", "http://:80"], "TCP takes no http address"],
    [["HTTP", "https://localhost/"], "it must be tcp://HOST:PORT or http://HOST:PORT/PATH"],
    [["HTTP", "http://example.com/"], "the host must be empty, localhost or an IP address"],
    [["HTTP", "http://user@localhost/"], "the host must be"],
    [["HTTP", "http://[::1/"], "the host must be"],
    [["HTTP", "http://[fe80::1%eth0]/"], "the host must be"],
    [["HTTP", "http://:80/a b"], "the path must be percent-encoded"],
    [["HTTP", "http://:80/\r\nX: y"], "the path must be percent-encoded"],
  ];
  for (const [list, text] of wrong) test(JSON.stringify(list), () => expect(() => of(list)).toThrow(text));
});
