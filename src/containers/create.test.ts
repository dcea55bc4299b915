import { describe, expect, test } from "bun:test";
import type { ContainerConfig, HostConfig } from "../oci/container.ts";
import { nextRestart } from "./backoff.ts";
import { nextHealth } from "./health.ts";
import { mergeConfig } from "./merge.ts";
import { newId, parseName, randomName } from "./names.ts";
import { effectiveBindings, normalisePortBindings, parsePort } from "./ports.ts";
import { parsePs } from "./top.ts";
import { checkConfig, checkHostConfig, checkLogConfig, type CreateDefaults } from "./validate.ts";

const defaults: CreateDefaults = { logDriver: "json-file", logOpts: {}, ulimits: [], init: false };
const check = (host: HostConfig, config: ContainerConfig = {}): HostConfig => checkHostConfig(config, host, defaults).host;

describe("names", () => {
  test("Docker's pattern", () => {
    expect(parseName("/web-1")).toBe("web-1");
    for (const bad of ["", "a", "-x", "a b", "a/b", "é1", "x".repeat(256)]) expect(() => parseName(bad)).toThrow("Invalid container name");
    expect(() => parseName("a b")).toThrow("Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
  });
  test("random ones fit the pattern", () => {
    for (let i = 0; i < 200; i++) parseName(randomName(i % 4));
    expect(newId()).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe("merging with the image", () => {
  const image = {
    Env: ["PATH=/bin", "A=image"],
    Cmd: ["sh"],
    Entrypoint: ["/init"],
    WorkingDir: "/w",
    User: "app",
    Labels: { a: "1", b: "1" },
    ExposedPorts: { "80/tcp": {} },
    Volumes: { "/data": {} },
  };
  test("the client's words win, the image's complete them", () => {
    const merged = mergeConfig({ Cmd: ["ls"], Env: ["A=mine", "B=2"], Labels: { b: "2" }, ExposedPorts: { "81/tcp": {} } }, image);
    expect(merged.Env).toEqual(["A=mine", "B=2", "PATH=/bin"]);
    expect(merged).toMatchObject({ Entrypoint: ["/init"], Cmd: ["ls"], WorkingDir: "/w", User: "app", Labels: { a: "1", b: "2" }, Volumes: { "/data": {} } });
    expect(Object.keys(merged.ExposedPorts ?? {}).sort()).toEqual(["80/tcp", "81/tcp"]);
  });
  test("an entrypoint of one's own drops the image's command", () => {
    expect(mergeConfig({ Entrypoint: ["/mine"] }, image).Cmd).toBeUndefined();
    expect(mergeConfig({}, image).Cmd).toEqual(["sh"]);
  });
  test("an empty entrypoint drops the image's", () => {
    expect(mergeConfig({ Entrypoint: [], Cmd: ["ls"] }, image).Entrypoint).toEqual([]);
    expect(mergeConfig({ Entrypoint: [""], Cmd: ["ls"] }, image).Entrypoint).toBeNull();
  });
  test("no command at all", () => {
    expect(() => mergeConfig({}, {})).toThrow("no command specified");
    expect(() => mergeConfig({ Entrypoint: [""] }, image)).toThrow("no command specified");
  });
  test("health checks field by field", () => {
    const merged = mergeConfig({ Cmd: ["x"], Healthcheck: { Interval: 5e9 } }, { Healthcheck: { Test: ["CMD", "true"], Interval: 1e9, Retries: 2 } });
    expect(merged.Healthcheck).toMatchObject({ Test: ["CMD", "true"], Interval: 5e9, Retries: 2 });
  });
});

describe("HostConfig", () => {
  test("what Docker fills in", () => {
    expect(check({})).toMatchObject({
      NetworkMode: "bridge",
      RestartPolicy: { Name: "no", MaximumRetryCount: 0 },
      LogConfig: { Type: "json-file", Config: {} },
      ShmSize: 67108864,
      IpcMode: "private",
      PortBindings: {},
    });
    expect(check({ Memory: 64 << 20 }).MemorySwap).toBe(128 << 20);
    expect(check({ MemorySwappiness: -1 }).MemorySwappiness).toBeNull();
    expect(check({ Privileged: true })).toMatchObject({ MaskedPaths: null, ReadonlyPaths: null, SecurityOpt: ["label=disable"] });
    expect(check({ PidMode: "host", SecurityOpt: ["label=type:x"] }).SecurityOpt).toEqual(["label=type:x"]);
  });

  const bad: [HostConfig, string][] = [
    [{ Memory: 1024 }, "Minimum memory limit allowed is 6MB"],
    [{ Memory: 64 << 20, MemorySwap: 32 << 20 }, "Minimum memoryswap limit should be larger than memory limit"],
    [{ MemorySwap: 64 << 20 }, "You should always set the Memory limit when using Memoryswap limit"],
    [{ MemorySwappiness: 101 }, "valid memory swappiness range is 0-100"],
    [{ NanoCpus: 1e9, CpuPeriod: 100000 }, "Nano CPUs and CPU Period cannot both be set"],
    [{ NanoCpus: 1e15 }, "Range of CPUs is from 0.01 to"],
    [{ CpuPeriod: 10 }, "CPU cfs period can not be less than 1ms"],
    [{ CpuQuota: 10 }, "CPU cfs quota can not be less than 1ms"],
    [{ CpusetCpus: "0-x" }, "Invalid value 0-x for cpuset cpus"],
    [{ CpusetCpus: "4000" }, "Requested CPUs are not available - requested 4000"],
    [{ CpusetMems: "4000" }, "Requested memory nodes are not available - requested 4000, available: 0"],
    [{ BlkioDeviceReadBps: [{ Path: "/dev/null", Rate: -1 }] }, "invalid rate -1 of device /dev/null: it must not be negative"],
    [{ BlkioWeight: 5 }, "Range of blkio weight is from 10 to 1000"],
    [{ OomScoreAdj: 2000 }, "range for oom score adj is [-1000, 1000]"],
    [{ ShmSize: -1 }, "SHM size can not be less than 0"],
    [{ IpcMode: "wat" }, "invalid IPC mode: wat"],
    [{ PidMode: "wat" }, "invalid PID mode: wat"],
    [{ UTSMode: "wat" }, "invalid UTS mode: wat"],
    [{ RestartPolicy: { Name: "sometimes" as never } }, "invalid restart policy: unknown policy 'sometimes'"],
    [{ RestartPolicy: { Name: "always", MaximumRetryCount: 3 } }, "maximum retry count can only be used with 'on-failure'"],
    [{ RestartPolicy: { Name: "always" }, AutoRemove: true }, "can't create 'AutoRemove' container with restart policy"],
    [{ LogConfig: { Type: "gelf" } }, 'plugin "gelf" not found'],
    [{ LogConfig: { Type: "json-file", Config: { wat: "1" } } }, "unknown log opt 'wat' for json-file log driver"],
    [{ PortBindings: { "x/tcp": [] } }, "invalid port specification"],
    [{ PortBindings: { "80/tcp": [{ HostPort: "99999" }] } }, "invalid port specification"],
    [{ PortBindings: { "80/tcp": [{ HostIp: "300.1.1.1" }] } }, "invalid host address"],
    [{ NetworkMode: "container:" }, "container format container:<name|id>"],
    [{ NetworkMode: "container:x", PublishAllPorts: true }, "port publishing and the container type network mode"],
    [{ Ulimits: [{ Name: "nofile", Soft: 5, Hard: 4 }] }, "ulimit soft limit must be less than or equal to hard limit"],
    [{ Dns: ["nope"] }, "invalid IP address: nope"],
    [{ IOMaximumIOps: 5 }, "QoS maximum IOPs configuration is not supported on linux"],
    [{ CpuRealtimePeriod: 5, CpuRealtimeRuntime: 6 }, "cpu real-time runtime cannot be higher than cpu real-time period"],
  ];
  for (const [host, error] of bad) test(`refused: ${error}`, () => expect(() => check(host)).toThrow(error));

  test("host network discards published ports with a warning", () => {
    const { warnings } = checkHostConfig({}, { NetworkMode: "host", PortBindings: { "80": [{ HostPort: "80" }] } }, defaults);
    expect(warnings).toEqual(["Published ports are discarded when using host network mode"]);
  });
});

describe("Config", () => {
  const bad: [ContainerConfig, string][] = [
    [{ WorkingDir: "rel" }, "the working directory 'rel' is invalid, it needs to be an absolute path"],
    [{ Env: ["=x"] }, "invalid environment variable: =x"],
    [{ Cmd: ["a\0b"] }, "invalid argument"],
    [{ StopSignal: "SIGWAT" }, "invalid signal: SIGWAT"],
    [{ Healthcheck: { Test: ["HTTP", "http://elsewhere/"] } }, 'invalid health check ["HTTP","http://elsewhere/"]: the host must be'],
    [{ Healthcheck: { Interval: 5 } }, "Interval in Healthcheck cannot be less than 1ms"],
    [{ ExposedPorts: { "70000/tcp": {} } }, "invalid port specification"],
  ];
  for (const [config, error] of bad) test(`refused: ${error}`, () => expect(() => checkConfig(config)).toThrow(error));
});

describe("ports", () => {
  test("normal form", () => {
    expect(parsePort("80")).toBe("80/tcp");
    expect(parsePort("53/UDP")).toBe("53/udp");
    expect(normalisePortBindings({ "80": [{ HostPort: "8000-8010" }], "80/tcp": null })).toEqual({ "80/tcp": [{ HostIp: "", HostPort: "8000-8010" }] });
  });
  test("-P publishes what is exposed and not bound", () => {
    expect(effectiveBindings({ PublishAllPorts: true, PortBindings: { "80/tcp": [{ HostPort: "8080" }] } }, { "80/tcp": {}, "81/tcp": {} })).toEqual({
      "80/tcp": [{ HostPort: "8080" }],
      "81/tcp": [{}],
    });
    expect(effectiveBindings({}, { "80/tcp": {} })).toEqual({});
  });
});

test("the daemon's log options are for its driver, but for those of the cache", () => {
  const withOptions = { ...defaults, logOpts: { "max-size": "1m", "cache-max-size": "5m" } };
  expect(checkLogConfig({}, withOptions)).toEqual({ Type: "json-file", Config: { "max-size": "1m", "cache-max-size": "5m" } });
  expect(checkLogConfig({ Config: { "max-size": "2m" } }, withOptions).Config["max-size"]).toBe("2m");
  expect(checkLogConfig({ Type: "syslog" }, withOptions)).toEqual({ Type: "syslog", Config: { "cache-max-size": "5m" } });
  expect(checkLogConfig({ Type: "none" }, defaults)).toEqual({ Type: "none", Config: {} });
});

describe("restart policy", () => {
  const ended = (exitCode: number, restartCount: number, seconds: number, lastDelay: number) => ({ exitCode, restartCount, seconds, lastDelay });
  test("100 ms, doubled up to a minute, anew after a good run", () => {
    let delay = 0;
    const delays: number[] = [];
    for (let i = 0; i < 12; i++) delays.push((delay = nextRestart({ Name: "always" }, ended(0, i, 1, delay)) as number));
    expect(delays).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
    expect(nextRestart({ Name: "always" }, ended(0, 12, 10, delay))).toBe(100);
  });
  test("on-failure counts", () => {
    expect(nextRestart({ Name: "on-failure" }, ended(0, 0, 1, 0))).toBeUndefined();
    expect(nextRestart({ Name: "on-failure" }, ended(1, 99, 1, 0))).toBe(100);
    expect(nextRestart({ Name: "on-failure", MaximumRetryCount: 2 }, ended(1, 1, 1, 100))).toBe(200);
    expect(nextRestart({ Name: "on-failure", MaximumRetryCount: 2 }, ended(1, 2, 1, 200))).toBeUndefined();
    expect(nextRestart({ Name: "no" }, ended(1, 0, 1, 0))).toBeUndefined();
    expect(nextRestart(undefined, ended(1, 0, 1, 0))).toBeUndefined();
  });
  test("what was ended because it was unhealthy comes back under any policy, within its count", () => {
    const unhealthy = { ...ended(0, 1, 1, 0), unhealthy: true };
    for (const Name of ["no", "always", "on-failure", "on-unhealthy"] as const) expect(nextRestart({ Name }, unhealthy)).toBe(100);
    expect(nextRestart({ Name: "on-unhealthy", MaximumRetryCount: 1 }, unhealthy)).toBeUndefined();
    expect(nextRestart({ Name: "on-unhealthy" }, ended(0, 0, 1, 0))).toBeUndefined();
    expect(nextRestart({ Name: "on-unhealthy" }, ended(1, 0, 1, 0))).toBe(100);
  });
});

describe("health", () => {
  const result = (ExitCode: number) => ({ Start: "", End: "", ExitCode, Output: "" });
  test("unhealthy after so many failures in a row, healthy after one success", () => {
    let health = nextHealth({ Status: "starting", FailingStreak: 0, Log: [] }, result(1), { retries: 2, starting: true });
    expect(health).toMatchObject({ Status: "starting", FailingStreak: 0 });
    health = nextHealth(health, result(1), { retries: 2, starting: false });
    expect(health).toMatchObject({ Status: "starting", FailingStreak: 1 });
    health = nextHealth(health, result(1), { retries: 2, starting: false });
    expect(health).toMatchObject({ Status: "unhealthy", FailingStreak: 2 });
    health = nextHealth(health, result(0), { retries: 2, starting: false });
    expect(health).toMatchObject({ Status: "healthy", FailingStreak: 0 });
    for (let i = 0; i < 9; i++) health = nextHealth(health, result(0), { retries: 2, starting: false });
    expect(health.Log.length).toBe(5);
  });
});

test("ps output is cut down to the container's processes", () => {
  const output = "  PID USER     COMMAND\n    1 root     init\n   42 anna     sh -c  a  b\n  421 root     x\n";
  expect(parsePs(output, new Set([42]))).toEqual({ titles: ["PID", "USER", "COMMAND"], processes: [["42", "anna", "sh -c a b"]] });
  expect(() => parsePs("USER\nroot\n", new Set())).toThrow("Couldn't find PID field in ps output");
});
