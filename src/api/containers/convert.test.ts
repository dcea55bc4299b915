import { describe, expect, test } from "bun:test";
import { statusOf } from "../../containers/list.ts";
import type { ContainerRecord, ContainerState } from "../../containers/types.ts";
import type { Digest } from "../../oci/digest.ts";
import type { SnapshotId } from "../../snapshots/types.ts";
import { statusText, toInspect, toSummary } from "./convert.ts";

const base = { exitCode: 0, startedAt: "0", finishedAt: "0", error: "", oomKilled: false };
const record = (state: Partial<ContainerState> & { status: ContainerState["status"] }, more: Partial<ContainerRecord> = {}): ContainerRecord => ({
  id: "a".repeat(64),
  name: "web",
  created: "2026-01-02T03:04:05.6Z",
  imageId: `sha256:${"b".repeat(64)}` as Digest,
  layers: ["1", "2"] as SnapshotId[],
  snapshot: "3" as SnapshotId,
  path: "sh",
  args: ["-c", "echo hi"],
  config: { Hostname: "aaaaaaaaaaaa", Image: "busybox", Entrypoint: undefined, Labels: { a: "b" } },
  host: { NetworkMode: "mine", SecurityOpt: undefined, Annotations: { x: "y" }, LogConfig: { Type: "json-file" } },
  endpoints: {},
  mounts: [],
  mountSources: [],
  platform: "linux",
  restartCount: 0,
  manuallyStopped: false,
  state: { ...base, ...state } as ContainerState,
  ...more,
});

const network = {
  networks: { bridge: { IPAddress: "172.17.0.2", IPPrefixLen: 16, DNSNames: ["web"], GwPriority: 0 }, mine: { Aliases: ["db"] } },
  ports: { "80/tcp": [{ HostIp: "", HostPort: "8080" }], "53/udp": null },
  sandboxId: "s",
  sandboxKey: "/run/s",
  kept: {},
};
const paths = { container: (id: string) => `/c/${id}`, bundle: (id: string) => `/b/${id}`, snapshots: "/s" };
const inspect = (api: number, of = record({ status: "running", pid: 7, generation: 1 })) => toInspect(of, network, { paths, api, execIds: [] });

describe("status in words", () => {
  const now = Date.parse("2026-01-01T01:00:00Z");
  const at = (text: string): string => String(BigInt(Date.parse(text)) * 1_000_000n);
  const started = at("2026-01-01T00:50:00Z");
  const finished = at("2026-01-01T00:58:00Z");
  const cases: [ContainerRecord, string, string][] = [
    [record({ status: "created" }), "created", "Created"],
    [record({ status: "starting", generation: 1 }), "created", "Created"],
    [record({ status: "starting", generation: 2, startedAt: started, finishedAt: finished }), "exited", "Exited (0) 2 minutes ago"],
    [
      record({ status: "starting", restarting: true, generation: 2, startedAt: started, finishedAt: finished, exitCode: 3 }),
      "restarting",
      "Restarting (3) 2 minutes ago",
    ],
    [record({ status: "running", pid: 1, generation: 1, startedAt: started }), "running", "Up 10 minutes"],
    [record({ status: "paused", pid: 1, generation: 1, startedAt: started }), "paused", "Up 10 minutes (Paused)"],
    [record({ status: "exited", generation: 1, exitCode: 137, finishedAt: finished }), "exited", "Exited (137) 2 minutes ago"],
    [record({ status: "restarting", generation: 1, exitCode: 1, finishedAt: finished }), "restarting", "Restarting (1) 2 minutes ago"],
    [record({ status: "removing" }), "removing", "Removal In Progress"],
    [record({ status: "dead" }), "dead", "Dead"],
    [
      record({ status: "running", pid: 1, generation: 1, startedAt: started }, { health: { Status: "starting", FailingStreak: 0, Log: [] } }),
      "running",
      "Up 10 minutes (health: starting)",
    ],
  ];
  for (const [of, state, words] of cases) {
    test(words, () => {
      expect(statusOf(of)).toBe(state);
      expect(statusText(of, now)).toBe(words);
    });
  }
});

describe("inspect", () => {
  test("state and zero dates", () => {
    expect(inspect(50).State).toMatchObject({ Status: "running", Running: true, Pid: 7, StartedAt: "0001-01-01T00:00:00Z" });
    expect(inspect(50, record({ status: "restarting", generation: 1 })).State).toMatchObject({ Running: true, Restarting: true, Pid: 0 });
  });

  test("what wasn't given is shown as Docker shows it, what was given as it was", () => {
    const { HostConfig, Config } = inspect(50);
    expect(HostConfig).toMatchObject({
      SecurityOpt: null,
      Binds: null,
      ShmSize: 67108864,
      RestartPolicy: { Name: "no", MaximumRetryCount: 0 },
      NetworkMode: "mine",
    });
    expect(Config).toMatchObject({ Entrypoint: null, Tty: false, Image: "busybox", Labels: { a: "b" } });
  });

  test("layers, highest first", () => expect(inspect(50).GraphDriver.Data).toMatchObject({ LowerDir: "/s/2:/s/1", UpperDir: "/s/3" }));

  test("the bridge's addresses at the top until 1.51", () => {
    expect(inspect(51).NetworkSettings).toMatchObject({ IPAddress: "172.17.0.2", IPPrefixLen: 16, Bridge: "" });
    expect(Object.keys(inspect(52).NetworkSettings).sort()).toEqual(["Networks", "Ports", "SandboxID", "SandboxKey"]);
  });

  test("fields that came later", () => {
    expect(inspect(43).NetworkSettings.Networks.bridge).not.toHaveProperty("DNSNames");
    expect(inspect(44).NetworkSettings.Networks.bridge).toHaveProperty("DNSNames");
    expect(inspect(42).HostConfig).not.toHaveProperty("Annotations");
    expect(inspect(43).HostConfig).toHaveProperty("Annotations");
  });

  test("the short id is an alias until 1.44, on networks of one's own", () => {
    expect(inspect(44).NetworkSettings.Networks.mine!.Aliases).toEqual(["db", "aaaaaaaaaaaa"]);
    expect(inspect(45).NetworkSettings.Networks.mine!.Aliases).toEqual(["db"]);
    expect(inspect(44).NetworkSettings.Networks.bridge!.Aliases).toBeNull();
  });

  test("the record isn't changed", () => {
    const of = record({ status: "created" });
    const before = JSON.stringify(of);
    inspect(24, of);
    expect(JSON.stringify(of)).toBe(before);
    expect(JSON.stringify(network)).toContain("DNSNames");
  });
});

test("the list", () => {
  const summary = (api: number) => toSummary(record({ status: "created" }), network, { api, imageName: "busybox" });
  expect(summary(50)).toMatchObject({ Names: ["/web"], Command: "sh -c 'echo hi'", Created: 1767323045, State: "created" });
  expect(summary(50).Ports).toEqual([
    { PrivatePort: 53, Type: "udp" },
    { IP: "0.0.0.0", PrivatePort: 80, PublicPort: 8080, Type: "tcp" },
  ]);
  expect(summary(45).HostConfig).toEqual({ NetworkMode: "mine" });
  expect(summary(46).HostConfig).toEqual({ NetworkMode: "mine", Annotations: { x: "y" } });
  expect(summary(51)).not.toHaveProperty("Health");
  expect(summary(52).Health).toEqual({ Status: "none", FailingStreak: 0 });
});
