import { describe, expect, test } from "bun:test";
import { skipped } from "../skips.ts";
import { suiteEngine, until } from "./harness.ts";

interface Usage {
  ActiveCount: number;
  TotalCount: number;
  Reclaimable: number;
  TotalSize: number;
  Items?: unknown[];
}

describe.skipIf(skipped("root", "overlay", "docker"))("the engine tells of itself", () => {
  const engine = suiteEngine();

  const get = async (path: string): Promise<unknown> => await (await engine.api("GET", path)).json();

  test("/_ping answers GET and HEAD in every version with the same headers, and no cache keeps it", async () => {
    for (const path of ["/_ping", "/v1.24/_ping", "/v1.55/_ping"]) {
      for (const method of ["GET", "HEAD"]) {
        const response = await engine.api(method, path);
        expect({ path, method, status: response.status, text: await response.text() }).toEqual({
          path,
          method,
          status: 200,
          text: method === "GET" ? "OK" : "",
        });
        expect(Object.fromEntries(response.headers)).toMatchObject({
          "api-version": "1.55",
          "builder-version": expect.stringMatching(/^[12]$/),
          "cache-control": "no-cache, no-store, must-revalidate",
          "content-type": "text/plain; charset=utf-8",
          "docker-experimental": "false",
          ostype: "linux",
          pragma: "no-cache",
          swarm: "inactive",
        });
      }
    }
  });

  test("versions from 1.24 to 1.55 are served, others refused in dockerd's words, unknown pages in dockerd's form", async () => {
    for (const minor of [24, 40, 55]) expect((await engine.api("GET", `/v1.${minor}/version`)).status).toBe(200);
    for (const [path, status, message] of [
      ["/v1.23/info", 400, "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"],
      ["/v1.56/info", 400, "client version 1.56 is too new. Maximum supported API version is 1.55"],
      ["/v1.45/no/such/page", 404, "page not found"],
      ["/no-such-page", 404, "page not found"],
    ] as const) {
      const response = await engine.api("GET", path);
      expect({ path, status: response.status, body: await response.json() }).toEqual({ path, status, body: { message } });
      expect(response.headers.get("content-type")).toBe("application/json");
    }
  });

  test("/version names the engine and the programs it works with", async () => {
    const version = (await get("/version")) as { Components: { Name: string; Version: string }[] };
    expect(version).toMatchObject({ Platform: { Name: "Berth" }, ApiVersion: "1.55", MinAPIVersion: "1.24", Os: "linux", Arch: expect.any(String) });
    expect(version.Components.map(({ Name }) => Name)).toEqual(["Engine", await engine.ok("info", "--format", "{{.DefaultRuntime}}"), "conmon"]);
    for (const component of version.Components) expect(component.Version).toMatch(/^\d+\.\d+/);
  });

  test("/info has every field that clients of its version know", async () => {
    const fields = (info: unknown): string[] => Object.keys(info as object);
    const modern = fields(await get("/v1.55/info"));
    const names = [
      "ID Containers Images Driver DriverStatus Plugins MemoryLimit SwapLimit CpuCfsPeriod CpuCfsQuota CPUShares CPUSet PidsLimit",
      "OomKillDisable IPv4Forwarding Debug NFd NGoroutines SystemTime LoggingDriver CgroupDriver CgroupVersion KernelVersion",
      "OperatingSystem OSVersion OSType Architecture NCPU MemTotal IndexServerAddress RegistryConfig DockerRootDir HttpProxy HttpsProxy",
      "NoProxy Name Labels ExperimentalBuild ServerVersion Runtimes DefaultRuntime Swarm LiveRestoreEnabled Isolation InitBinary",
      "RuncCommit SecurityOptions FirewallBackend CDISpecDirs Warnings",
    ];
    for (const name of names.flatMap((line) => line.split(" "))) expect(modern).toContain(name);
    expect(modern).not.toContain("BridgeNfIptables");
    expect(modern).not.toContain("KernelMemoryTCP");
    const old = fields(await get("/v1.40/info"));
    expect(old).toContain("BridgeNfIptables");
    expect(old).toContain("KernelMemoryTCP");
    expect(old).not.toContain("FirewallBackend");
  });

  test("/system/df counts shared layers once, in the forms of old and new clients", async () => {
    for (const name of ["one", "two"]) {
      await engine.ok("run", "--name", name, "busybox", "sh", "-c", `dd if=/dev/zero of=/${name} bs=1k count=100 2>/dev/null`);
      await engine.ok("commit", name, `${name}:1`);
    }
    await engine.ok("run", "-d", "--name", "active", "-v", "used:/v", "one:1", "sh", "-c", "dd if=/dev/zero of=/v/x bs=1k count=10 2>/dev/null; sleep 1000");
    await engine.ok("volume", "create", "unused");
    await until("the volume is filled", async () => (await engine.docker(["exec", "active", "test", "-s", "/v/x"])).code === 0);

    const old = (await get("/v1.45/system/df")) as {
      LayersSize: number;
      Images: { RepoTags: string[]; Size: number; SharedSize: number; Containers: number }[];
      Volumes: unknown[];
    };
    const image = (name: string): (typeof old.Images)[number] => old.Images.find(({ RepoTags }) => RepoTags[0] === name)!;
    const base = image("busybox:latest");
    expect(image("one:1")).toMatchObject({ Size: base.Size + 102_400, SharedSize: base.Size, Containers: 1 });
    expect(image("two:1")).toMatchObject({ SharedSize: base.Size, Containers: 0 });
    expect(base).toMatchObject({ SharedSize: base.Size, Containers: 2 });
    expect(old.LayersSize).toBe(base.Size + 2 * 102_400);
    expect(old.Volumes.length).toBe(2);

    const modern = (await get("/v1.55/system/df?verbose=1")) as Record<string, Usage>;
    expect(Object.keys(modern).sort()).toEqual(["BuildCacheUsage", "ContainerUsage", "ImageUsage", "VolumeUsage"]);
    expect(modern["ImageUsage"]).toMatchObject({ ActiveCount: 2, TotalCount: 3, TotalSize: old.LayersSize, Reclaimable: 102_400 });
    expect(modern["ContainerUsage"]).toMatchObject({ ActiveCount: 1, TotalCount: 3, TotalSize: 204_800, Reclaimable: 204_800 });
    expect(modern["VolumeUsage"]).toMatchObject({ ActiveCount: 1, TotalCount: 2, TotalSize: 10_240, Reclaimable: 0 });
    expect(modern["ImageUsage"]!.Items!.length).toBe(3);
    expect(Object.keys((await get("/v1.55/system/df?type=volume&verbose=true")) as object)).toEqual(["VolumeUsage"]);
    expect((await engine.api("GET", "/system/df?type=nope")).status).toBe(400);
    const shared = (await get("/v1.45/images/json?shared-size=1")) as { RepoTags: string[]; SharedSize: number }[];
    expect(shared.find(({ RepoTags }) => RepoTags[0] === "two:1")?.SharedSize).toBe(base.Size);
    expect(await engine.ok("system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}")).toBe(
      "Images 3 2\nContainers 3 1\nLocal Volumes 2 1\nBuild Cache 0 0",
    );
  });

  test("its state is told under --debug, and written to the log at SIGUSR1", async () => {
    expect(await get("/debug/vars")).toMatchObject({
      pid: engine.pid,
      containers: { running: 1 },
      heap: { size: expect.any(Number) },
      openFiles: expect.any(Number),
    });
    process.kill(engine.pid, "SIGUSR1");
    await until("the state is written down", () => /level=info msg="state" pid=\d+ .*openFiles=\d+/.test(engine.log()));
  });

  test("/auth says what is wrong with credentials, and what it is that can't be reached", async () => {
    const response = await engine.api("POST", "/auth", { username: "me", password: "hunter2", serveraddress: "127.0.0.1:1" });
    expect(response.status).toBe(500);
    expect(await response.json()).toEqual({ message: 'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused' });
    expect(engine.log()).not.toContain("hunter2");
  });
});
