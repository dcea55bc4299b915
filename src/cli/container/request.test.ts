import { describe, expect, test } from "bun:test";
import { parseFlags } from "../flags.ts";
import { containerFlags } from "./flags.ts";
import { createRequest } from "./request.ts";
import { portsText } from "./ls.ts";

async function request(args: string, config = {}, env: Record<string, string> = {}) {
  const { values, given, positional } = parseFlags(containerFlags, args.split(" ").filter(Boolean), { interspersed: false });
  const [image = "", ...command] = positional;
  return createRequest({ flags: values, given: (name) => given.has(name), image, command, env, config, windowSize: { rows: 40, columns: 120 } });
}

describe("what create and run send", () => {
  test("for an image alone", async () => {
    const body = await request("busybox");
    expect(body).toMatchObject({
      Image: "busybox",
      Cmd: null,
      Entrypoint: null,
      AttachStdin: false,
      AttachStdout: true,
      AttachStderr: true,
      OpenStdin: false,
      Tty: false,
      Env: [],
    });
    expect(body.HostConfig).toMatchObject({ NetworkMode: "default", RestartPolicy: { Name: "no", MaximumRetryCount: 0 }, AutoRemove: false, Binds: [] });
    expect(body.NetworkingConfig).toEqual({ EndpointsConfig: {} });
    for (const unset of ["Memory", "NanoCpus", "PidsLimit", "Init", "MemorySwappiness", "MaskedPaths", "ConsoleSize"])
      expect(body.HostConfig).not.toHaveProperty(unset);
    for (const unset of ["StopSignal", "StopTimeout", "Healthcheck", "MacAddress"]) expect(body).not.toHaveProperty(unset);
  });

  test("for the usual flags", async () => {
    const body = await request(
      "-it --rm --name x -e A=1 -e HERE -l a=b -p 8080:80 -v /a:/b:ro -w /w -u 1:2 -h host --entrypoint sh busybox -c x",
      {},
      { HERE: "y" },
    );
    expect(body).toMatchObject({
      Hostname: "host",
      User: "1:2",
      WorkingDir: "/w",
      Env: ["A=1", "HERE=y"],
      Labels: { a: "b" },
      Entrypoint: ["sh"],
      Cmd: ["-c", "x"],
      Tty: true,
      OpenStdin: true,
      StdinOnce: true,
      AttachStdin: true,
      ExposedPorts: { "80/tcp": {} },
    });
    expect(body.HostConfig).toMatchObject({
      AutoRemove: true,
      Binds: ["/a:/b:ro"],
      PortBindings: { "80/tcp": [{ HostIp: "", HostPort: "8080" }] },
      ConsoleSize: [40, 120],
    });
  });

  test("for limits and devices", async () => {
    const { HostConfig: host } = await request(
      "-m 64m --memory-swap -1 --cpus 1.5 --pids-limit 10 --ulimit nofile=1:2 --device /dev/null --sysctl net.x=1 --tmpfs /t:size=1m --cap-add NET_ADMIN --init=false --shm-size 1g busybox",
    );
    expect(host).toMatchObject({
      Memory: 64 << 20,
      MemorySwap: -1,
      NanoCpus: 1.5e9,
      PidsLimit: 10,
      Ulimits: [{ Name: "nofile", Soft: 1, Hard: 2 }],
      Devices: [{ PathOnHost: "/dev/null", PathInContainer: "/dev/null", CgroupPermissions: "rwm" }],
      Sysctls: { "net.x": "1" },
      Tmpfs: { "/t": "size=1m" },
      CapAdd: ["NET_ADMIN"],
      Init: false,
      ShmSize: 2 ** 30,
    });
  });

  test("for networks", async () => {
    const body = await request("--network web --ip 10.0.0.5 --network-alias a --network name=db,alias=b busybox");
    expect(body.HostConfig.NetworkMode).toBe("web");
    expect(body.NetworkingConfig.EndpointsConfig).toEqual({ web: { Aliases: ["a"], IPAMConfig: { IPv4Address: "10.0.0.5" } }, db: { Aliases: ["b"] } });
    expect((await request("--net host busybox")).NetworkingConfig.EndpointsConfig).toEqual({});
    await expect(request("--network a --network a busybox")).rejects.toThrow("specified multiple times");
  });

  test("for health checks", async () => {
    expect(await request("--health-cmd check --health-interval 5s --health-retries 2 busybox")).toMatchObject({
      Healthcheck: { Test: ["CMD-SHELL", "check"], Interval: 5e9, Retries: 2 },
    });
    expect(await request("--health-http :80/up busybox")).toMatchObject({ Healthcheck: { Test: ["HTTP", ":80/up"] } });
    expect(await request("--health-tcp :80 --health-interval 1s busybox")).toMatchObject({ Healthcheck: { Test: ["TCP", ":80"], Interval: 1e9 } });
    await expect(request("--health-tcp :80 --health-cmd x busybox")).rejects.toThrow("--health-cmd conflicts with --health-tcp");
    expect(await request("--no-healthcheck busybox")).toMatchObject({ Healthcheck: { Test: ["NONE"] } });
    await expect(request("--no-healthcheck --health-retries 1 busybox")).rejects.toThrow("--no-healthcheck conflicts");
  });

  test("for security options", async () => {
    const { HostConfig: host } = await request(
      "--security-opt no-new-privileges --security-opt systempaths=unconfined --security-opt seccomp=unconfined busybox",
    );
    expect(host).toMatchObject({ SecurityOpt: ["no-new-privileges", "seccomp=unconfined"], MaskedPaths: [], ReadonlyPaths: [] });
    await expect(request("--security-opt seccomp=/nonexistent.json busybox")).rejects.toThrow("opening seccomp profile (/nonexistent.json) failed");
    await expect(request("--security-opt nonsense busybox")).rejects.toThrow("invalid --security-opt");
  });

  test("with the proxies of config.json, unless -e sets them", async () => {
    const config = { proxies: { default: { httpProxy: "http://p" } } };
    expect((await request("busybox", config)).Env).toEqual(["HTTP_PROXY=http://p", "http_proxy=http://p"]);
    expect((await request("-e HTTP_PROXY= busybox", config)).Env).toEqual(["HTTP_PROXY=", "http_proxy=http://p"]);
  });

  test("not when flags contradict each other", async () => {
    await expect(request("--rm --restart always busybox")).rejects.toThrow("cannot specify both --restart and --rm");
    await expect(request("-a nowhere busybox")).rejects.toThrow("valid streams are STDIN, STDOUT and STDERR");
    await expect(request("--log-driver none --log-opt a=b busybox")).rejects.toThrow("invalid logging opts for driver none");
  });
});

test("ports are drawn together as Docker does", () => {
  const tcp = (PrivatePort: number, PublicPort?: number, IP?: string) => ({ PrivatePort, PublicPort, IP, Type: "tcp" });
  expect(portsText([tcp(80, 8080, "::"), tcp(80, 8080, "0.0.0.0"), tcp(443)])).toBe("0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 443/tcp");
  expect(portsText([tcp(2001, 1001, "0.0.0.0"), tcp(2000, 1000, "0.0.0.0"), tcp(3000), tcp(3001), tcp(3003)])).toBe(
    "0.0.0.0:1000-1001->2000-2001/tcp, 3000-3001/tcp, 3003/tcp",
  );
  expect(portsText([])).toBe("");
});
