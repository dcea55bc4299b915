import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { skipped } from "../skips.ts";
import { suiteEngine, until } from "./harness.ts";

/** What clients see of operations on containers: stats, limits, lists and the like, against the compiled engine. */
describe.skipIf(skipped("root", "overlay", "docker"))("operations", () => {
  const engine = suiteEngine();

  const MiB = 1 << 20;

  // biome-ignore lint/suspicious/noExplicitAny: answers are looked into as a script would
  type Answer = any;

  async function call(method: string, path: string, body?: unknown): Promise<{ status: number; body: Answer }> {
    const response = await engine.api(method, path, body);
    const text = await response.text();
    return { status: response.status, body: text === "" ? undefined : JSON.parse(text) };
  }
  /** A running container that is removed with the scope. */
  async function running(body: object = {}, name?: string): Promise<{ id: string } & AsyncDisposable> {
    const created = await call("POST", `/containers/create${name === undefined ? "" : `?name=${name}`}`, { Image: "busybox", Cmd: ["sleep", "600"], ...body });
    expect(created.status).toBe(201);
    const id = created.body.Id as string;
    expect((await call("POST", `/containers/${id}/start`)).status).toBe(204);
    return { id, [Symbol.asyncDispose]: async () => void (await call("DELETE", `/containers/${id}?force=1&v=1`)) };
  }
  const inspect = async (id: string): Promise<Answer> => (await call("GET", `/containers/${id}/json`)).body;

  test("stats: two real samples soon, in a stream from its first line on", async () => {
    await using container = await running({ Cmd: ["sh", "-c", "while :; do :; done"] });
    const { body: once } = await call("GET", `/v1.45/containers/${container.id}/stats?stream=0`);
    expect(once.precpu_stats.cpu_usage.total_usage).toBeGreaterThan(0);
    expect(once.cpu_stats.cpu_usage.total_usage).toBeGreaterThan(once.precpu_stats.cpu_usage.total_usage);
    expect(once.cpu_stats.system_cpu_usage).toBeGreaterThan(once.precpu_stats.system_cpu_usage);
    expect(Date.parse(once.read)).toBeGreaterThan(Date.parse(once.preread));
    expect(once.memory_stats.usage).toBeGreaterThan(0);
    expect(Object.keys(once.networks)).toEqual(["eth0"]);
    if (existsSync("/proc/pressure/cpu")) expect(once.cpu_stats.psi.some.total).toBeGreaterThanOrEqual(0);
    const stream = await engine.api("GET", `/containers/${container.id}/stats`);
    const reader = stream.body!.getReader();
    const first = JSON.parse(Buffer.from((await reader.read()).value!).toString()) as Answer;
    expect(first.precpu_stats.cpu_usage.total_usage).toBeGreaterThan(0);
    await reader.cancel();
    const both = await call("GET", `/containers/${container.id}/stats?one-shot=1`);
    expect(both).toEqual({ status: 400, body: { message: "cannot have stream=true and one-shot=true" } });
    const { body: shot } = await call("GET", `/containers/${container.id}/stats?stream=0&one-shot=1`);
    expect([shot.precpu_stats.cpu_usage.total_usage, shot.preread]).toEqual([0, "0001-01-01T00:00:00Z"]);
  });

  test("stats: a stream ends with its container; the host's network is nobody's", async () => {
    const container = await running({ HostConfig: { NetworkMode: "host" } });
    const reader = (await engine.api("GET", `/containers/${container.id}/stats`)).body!.getReader();
    expect(JSON.parse(Buffer.from((await reader.read()).value!).toString()) as Answer).not.toHaveProperty("networks");
    await container[Symbol.asyncDispose]();
    let last = await reader.read();
    while (!last.done) last = await reader.read();
  });

  /** Files of the container's cgroup, by name, whichever tree they stand in. */
  async function limits(id: string, ...names: string[]): Promise<string[]> {
    const pid = (await inspect(id)).State.Pid as number;
    const groups = readFileSync(`/proc/${pid}/cgroup`, "utf8").trim().split("\n");
    return names.map((name) => {
      for (const line of groups) {
        const [, controllers = "", path = ""] = line.split(":");
        const file = `/sys/fs/cgroup/${controllers === "" ? "" : controllers.replace(/^name=/, "")}${path}/${name}`;
        if (existsSync(file)) return readFileSync(file, "utf8").trim();
      }
      return "no such file";
    });
  }
  const memory = (id: string): Promise<string[]> => limits(id, "memory.limit_in_bytes", "memory.memsw.limit_in_bytes");

  test.skipIf(skipped("cgroupV1"))("update: memory up and down, with swap in the order the kernel wants", async () => {
    await using container = await running({ HostConfig: { Memory: 64 * MiB, MemorySwap: 128 * MiB } });
    const update = (body: object): Promise<{ status: number; body: Answer }> => call("POST", `/containers/${container.id}/update`, body);
    const steps: [Record<string, number>, string[]][] = [
      [{ Memory: 32 * MiB }, [String(32 * MiB), String(128 * MiB)]],
      [{ Memory: 256 * MiB, MemorySwap: 512 * MiB }, [String(256 * MiB), String(512 * MiB)]],
      [{ Memory: 48 * MiB, MemorySwap: 48 * MiB }, [String(48 * MiB), String(48 * MiB)]],
      [{ Memory: 300 * MiB, MemorySwap: -1 }, [String(300 * MiB), "9223372036854771712"]],
    ];
    for (const [change, expected] of steps) {
      expect(await update(change)).toEqual({ status: 200, body: { Warnings: null } });
      expect(await memory(container.id)).toEqual(expected);
      expect((await inspect(container.id)).HostConfig).toMatchObject(change);
    }
    await using open = await running();
    expect((await call("POST", `/containers/${open.id}/update`, { Memory: 64 * MiB })).status).toBe(200);
    expect(await memory(open.id)).toEqual([String(64 * MiB), String(128 * MiB)]);
    expect((await inspect(open.id)).HostConfig).toMatchObject({ Memory: 64 * MiB, MemorySwap: 128 * MiB });
  });

  test.skipIf(skipped("cgroupV1"))("update: what the kernel refuses leaves all as it was", async () => {
    const cmd = ["sh", "-c", "dd if=/dev/zero of=/fill/x bs=1M count=30; sleep 600"];
    await using container = await running({ Cmd: cmd, HostConfig: { Memory: 100 * MiB, MemorySwap: 100 * MiB, CpuShares: 512, Tmpfs: { "/fill": "" } } });
    await until("30 MiB in memory", async () => Number((await limits(container.id, "memory.usage_in_bytes"))[0]) > 30 * MiB);
    const refused = await call("POST", `/containers/${container.id}/update`, { CpuShares: 100, Memory: 8 * MiB, MemorySwap: 8 * MiB });
    expect(refused.status).toBe(409);
    expect(refused.body.message).toMatch(/^Cannot update container \w+: memory\.limit_in_bytes can't be set to "8388608": the container uses more$/);
    // the kernel takes the share of processors after the memory, and refuses the realtime runtime after that
    const late = await call("POST", `/containers/${container.id}/update`, { Memory: 90 * MiB, MemorySwap: 90 * MiB, CpuShares: 100, CpuRealtimeRuntime: 1000 });
    expect(late.status).toBe(400);
    expect(await limits(container.id, "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "cpu.shares")).toEqual([
      String(100 * MiB),
      String(100 * MiB),
      "512",
    ]);
    expect((await inspect(container.id)).HostConfig).toMatchObject({ Memory: 100 * MiB, MemorySwap: 100 * MiB, CpuShares: 512, CpuRealtimeRuntime: 0 });
  });

  test("update: what only a new container can be given is refused, or named in a warning, unless it is as it was", async () => {
    const host = { Ulimits: [{ Name: "nofile", Soft: 100, Hard: 100 }], OomKillDisable: false };
    await using container = await running({ HostConfig: host });
    const update = (body: object): Promise<{ status: number; body: Answer }> => call("POST", `/containers/${container.id}/update`, body);
    expect(await update({ ...host, MemorySwappiness: null, Devices: [], CgroupParent: "" })).toEqual({ status: 200, body: { Warnings: null } });
    expect((await update({ Ulimits: [{ Name: "nofile", Soft: 50, Hard: 50 }], MemorySwappiness: 50, CpuPercent: 5 })).body.Warnings).toEqual([
      "linux does not support CPU percent. Percent discarded.",
      "MemorySwappiness can't be changed by an update. MemorySwappiness discarded.",
      "Ulimits can't be changed by an update. Ulimits discarded.",
    ]);
    expect((await inspect(container.id)).HostConfig).toMatchObject(host);
    for (const field of ["IOMaximumIOps", "IOMaximumBandwidth"]) expect((await update({ [field]: 5 })).status).toBe(400);
  });

  test("update: 0 takes the limit of processes away, null leaves it, an older API doesn't know it", async () => {
    await using container = await running({ HostConfig: { PidsLimit: 50 } });
    const pids = async (): Promise<unknown[]> => [...(await limits(container.id, "pids.max")), (await inspect(container.id)).HostConfig.PidsLimit];
    await call("POST", `/v1.39/containers/${container.id}/update`, { PidsLimit: 70 });
    await call("POST", `/containers/${container.id}/update`, { PidsLimit: null });
    expect(await pids()).toEqual(["50", 50]);
    await call("POST", `/containers/${container.id}/update`, { PidsLimit: -1 });
    expect(await pids()).toEqual(["max", 0]);
    await call("POST", `/containers/${container.id}/update`, { PidsLimit: 60 });
    expect(await pids()).toEqual(["60", 60]);
  });

  test.skipIf(skipped("cgroupV1"))("update: limits of devices from 1.55 on: absent stays, a list replaces, an empty one clears; paused too", async () => {
    const device = ["/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/loop0"].find((path) => existsSync(path));
    if (device === undefined) return;
    await using container = await running();
    const rate = async (): Promise<string> => (await limits(container.id, "blkio.throttle.read_bps_device"))[0]!.replace(/^\S+ /, "");
    const update = (version: string, body: object): Promise<unknown> => call("POST", `/${version}/containers/${container.id}/update`, body);
    await update("v1.54", { BlkioDeviceReadBps: [{ Path: device, Rate: MiB }] });
    expect(await rate()).toBe("");
    await call("POST", `/containers/${container.id}/pause`);
    await update("v1.55", { BlkioDeviceReadBps: [{ Path: device, Rate: MiB }] });
    await call("POST", `/containers/${container.id}/unpause`);
    await update("v1.55", { CpuShares: 512 });
    expect(await rate()).toBe(String(MiB));
    await update("v1.55", { BlkioDeviceReadBps: [] });
    expect(await rate()).toBe("");
    expect((await inspect(container.id)).HostConfig.BlkioDeviceReadBps).toEqual([]);
  });

  test("update: refusals in Docker's words, and of a container at rest", async () => {
    await using container = await running({ HostConfig: { NanoCpus: 500_000_000, AutoRemove: true } });
    const message = async (body: object): Promise<unknown[]> => {
      const answer = await call("POST", `/containers/${container.id}/update`, body);
      return [answer.status, answer.body.message];
    };
    const prefix = `Cannot update container ${container.id}: `;
    expect(await message({ CpuQuota: 20_000 })).toEqual([409, `${prefix}Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set`]);
    expect(await message({ RestartPolicy: { Name: "always" } })).toEqual([
      409,
      `${prefix}Restart policy cannot be updated because AutoRemove is enabled for the container`,
    ]);
    expect(await message({ RestartPolicy: { Name: "on-failure", MaximumRetryCount: -1 } })).toEqual([
      400,
      "invalid restart policy: maximum retry count cannot be negative",
    ]);
    expect(await message({ Memory: 1 })).toEqual([400, "Minimum memory limit allowed is 6MB"]);

    const { body: rest } = await call("POST", "/containers/create", { Image: "busybox", Cmd: ["sleep", "600"] });
    expect((await call("POST", `/containers/${rest.Id}/update`, { CpuShares: 300 })).status).toBe(200);
    await call("POST", `/containers/${rest.Id}/start`);
    expect(await limits(rest.Id, "cpu.shares", "cpu.weight")).toContain(existsSync("/sys/fs/cgroup/cgroup.controllers") ? "12" : "300");
    await call("DELETE", `/containers/${rest.Id}?force=1`);
  });

  test("pause of a container that is about to end: done or refused, never a failure of the engine", async () => {
    const statuses = new Set<number>();
    for (let round = 0; round < 15; round++) {
      await using container = await running({ Cmd: ["sleep", "0.02"], HostConfig: { NetworkMode: "none" } });
      await Bun.sleep(round);
      for (const verb of ["pause", "unpause"]) statuses.add((await call("POST", `/containers/${container.id}/${verb}`)).status);
    }
    expect([...statuses].filter((status) => status !== 204 && status !== 409)).toEqual([]);
  });

  test("resize of a container that ends meanwhile: done or refused, never a failure of the engine", async () => {
    const statuses = new Set<number>();
    for (let i = 0; i < 10; i++) {
      const id = await engine.ok("run", "-dt", "--network", "none", "busybox", "sleep", "0.05");
      for (let status = 200; status === 200;) statuses.add((status = (await engine.api("POST", `/containers/${id}/resize?h=20&w=60`)).status));
      await engine.ok("rm", id);
    }
    expect([...statuses].sort()).toEqual([200, 409]);
  });

  test("signals of every spelling, and those that are none", async () => {
    await using container = await running({
      Cmd: ["sh", "-c", 'for s in HUP USR1 34 64; do trap "echo got $s" $s; done; echo ready; while :; do sleep 0.1; done'],
    });
    await until("the traps", async () => (await engine.ok("logs", container.id)).includes("ready"));
    const kill = async (signal: string): Promise<number> => (await call("POST", `/containers/${container.id}/kill?signal=${signal}`)).status;
    for (const [signal, told] of [
      ["SIGHUP", "HUP"],
      ["usr1", "USR1"],
      ["34", "34"],
      ["RTMAX", "64"],
    ] as const) {
      expect(await kill(signal)).toBe(204);
      await until(signal, async () => (await engine.ok("logs", container.id)).includes(`got ${told}`));
    }
    for (const bad of ["FOO", "0", "-1", "RTMIN-1"]) {
      const answer = await call("POST", `/containers/${container.id}/kill?signal=${bad}`);
      expect([answer.status, answer.body.message]).toEqual([400, `cannot kill container: ${container.id}: invalid signal: ${bad}`]);
    }
    const large = await call("POST", `/containers/${container.id}/kill?signal=99`);
    expect(large.body.message).toBe(`cannot kill container: ${container.id}: the linux daemon does not support signal 99`);
  });

  test("rm --link takes a name away, and no container", async () => {
    await using store = await running({}, "store");
    await using web = await running({ HostConfig: { Links: ["store:db", "store:other"] } }, "web");
    const hosts = async (): Promise<string> => await engine.ok("exec", "web", "cat", "/etc/hosts");
    expect(await hosts()).toMatch(/\tdb /);
    expect((await engine.docker(["rm", "--link", "web/nope"])).stderr).toContain("No such container: web/nope");
    expect(await engine.ok("rm", "--link", "/web/db")).toBe("/web/db");
    expect(await hosts()).not.toMatch(/\tdb /);
    expect(await hosts()).toMatch(/\tother /);
    expect((await inspect(web.id)).HostConfig.Links).toEqual(["/store:/web/other"]);
    expect((await inspect(store.id)).State.Running).toBe(true);
    expect((await engine.docker(["rm", "--link", "web"])).stderr).toContain("cannot remove the default link name of the container");
    await engine.ok("restart", "-t", "0", "web");
    expect(await hosts()).not.toMatch(/\tdb /);
  });

  test("top: the host's ps sees the container's processes alone, and its refusals are told", async () => {
    await using container = await running({ Cmd: ["sh", "-c", "sleep 601 & sleep 602; wait"] });
    const top = async (args: string): Promise<{ status: number; body: Answer }> =>
      await call("GET", `/containers/${container.id}/top?ps_args=${encodeURIComponent(args)}`);
    await until("both", async () => (await top("")).body.Processes.length === 3);
    expect((await top("")).body.Titles).toEqual(["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    const { body } = await top("-o pid,args");
    expect(body.Titles).toEqual(["PID", "COMMAND"]);
    expect(body.Processes.map((row: string[]) => row[1]).toSorted()).toEqual(["sh -c sleep 601 & sleep 602; wait", "sleep 601", "sleep 602"]);
    expect(await top("-eo comm")).toEqual({ status: 400, body: { message: "Couldn't find PID field in ps output" } });
    expect(await top("-eo comm, comm=PID")).toEqual({ status: 400, body: { message: 'specifying "comm=PID" is not allowed' } });
    expect((await top("--bogus")).body.message).toStartWith("ps: ");
  });

  test("lists: which containers each filter means", async () => {
    await using first = await running(
      { Labels: { k: "v" }, ExposedPorts: { "80/tcp": {} }, HostConfig: { PortBindings: { "80/tcp": [{ HostPort: "18080" }] } } },
      "list-first",
    );
    await using second = await running({ Labels: { k: "w" }, HostConfig: { NetworkMode: "none", Binds: ["list-volume:/data"] } }, "list-second");
    await using third = await running({ Cmd: ["sh", "-c", "exit 3"], HostConfig: { NetworkMode: "host" } }, "list-third");
    await call("POST", `/containers/${third.id}/wait`);
    await call("POST", `/containers/${second.id}/pause`);
    const list = async (filters: object, query = "all=1"): Promise<unknown> => {
      const { status, body } = await call("GET", `/containers/json?${query}&filters=${encodeURIComponent(JSON.stringify({ name: ["list-"], ...filters }))}`);
      return status === 200 ? body.map((each: Answer) => each.Names[0].replace("/list-", "")) : `${status} ${body.message}`;
    };
    expect(await list({})).toEqual(["third", "second", "first"]);
    expect(await list({}, "")).toEqual(["second", "first"]);
    expect(await list({}, "limit=1")).toEqual(["third"]);
    const cases: [object, unknown][] = [
      [{ id: [first.id.slice(0, 12)] }, ["first"]],
      [{ id: [""] }, []],
      [{ name: ["(?i)^LIST-F"] }, ["first"]],
      [{ label: ["k"] }, ["second", "first"]],
      [{ label: ["k=w"] }, ["second"]],
      [{ status: ["exited", "paused"] }, ["third", "second"]],
      [{ exited: ["3"] }, ["third"]],
      [{ exited: [""] }, "400 invalid filter 'exited=': want an exit code"],
      [{ exited: ["3.0"] }, "400 invalid filter 'exited=3.0': want an exit code"],
      [{ ancestor: ["busybox"] }, ["third", "second", "first"]],
      [{ before: ["list-second"] }, ["first"]],
      [{ since: ["list-second"] }, ["third"]],
      [{ volume: ["list-volume"] }, ["second"]],
      [{ volume: ["/data"] }, ["second"]],
      [{ network: ["host"] }, ["third"]],
      [{ publish: ["18000-18090/tcp"] }, ["first"]],
      [{ publish: ["80"] }, []],
      [{ expose: ["80"] }, ["first"]],
      [{ health: ["none"] }, ["third", "second", "first"]],
      [{ "is-task": ["true"] }, []],
      [{ isolation: ["default"] }, ["third", "second", "first"]],
      [{ status: ["odd"] }, "400 invalid filter 'status=odd': unrecognised filter value for status: odd"],
      [{ health: ["odd"] }, "400 unrecognized filter value for health: odd"],
      [{ "is-task": ["odd"] }, "400 invalid filter 'is-task=[odd]'"],
      [{ odd: ["x"] }, "400 invalid filter 'odd'"],
      [{ before: ["nobody"] }, "404 No such container: nobody"],
    ];
    for (const [filters, expected] of cases) expect([filters, await list(filters)]).toEqual([filters, expected]);
    // a status speaks of containers that don't run, an exit code doesn't
    expect(await list({ status: ["exited"] }, "")).toEqual(["third"]);
    expect(await list({ exited: ["3"] }, "")).toEqual([]);
  });

  test("start: a checkpoint is refused, not passed over", async () => {
    const { body } = await call("POST", "/containers/create", { Image: "busybox" });
    expect(await call("POST", `/containers/${body.Id}/start?checkpoint=saved`)).toEqual({
      status: 400,
      body: { message: `cannot start container ${body.Id} from checkpoint saved: checkpoints are not supported` },
    });
    expect((await inspect(body.Id)).State.Status).toBe("created");
    await call("DELETE", `/containers/${body.Id}`);
  });

  test("lists and inspect show every change at once", async () => {
    await using container = await running({ Labels: { Status: "x" } }, "shown");
    const shown = async (): Promise<{ list: Answer; inspect: Answer }> => ({
      list: (await call("GET", `/containers/json?all=1&filters=${encodeURIComponent(JSON.stringify({ id: [container.id] }))}`)).body[0],
      inspect: await inspect(container.id),
    });
    expect((await shown()).list).toMatchObject({ Names: ["/shown"], State: "running", Status: expect.stringMatching(/^Up /), Labels: { Status: "x" } });
    await call("POST", `/containers/${container.id}/rename?name=renamed`);
    expect(await shown()).toMatchObject({ list: { Names: ["/renamed"] }, inspect: { Name: "/renamed" } });
    await call("POST", `/containers/${container.id}/pause`);
    expect(await shown()).toMatchObject({ list: { State: "paused" }, inspect: { State: { Paused: true } } });
    await call("POST", `/containers/${container.id}/unpause`);
    const { body: network } = await call("POST", "/networks/create", { Name: "shown-network" });
    await call("POST", "/networks/shown-network/connect", { Container: container.id, EndpointConfig: { Aliases: ["other"] } });
    const joined = { Networks: { "shown-network": { NetworkID: network.Id, IPAddress: expect.stringMatching(/^\d/) } } };
    expect(await shown()).toMatchObject({ list: { NetworkSettings: joined }, inspect: { NetworkSettings: joined } });
    await call("POST", "/networks/shown-network/disconnect", { Container: container.id });
    expect(Object.keys((await shown()).list.NetworkSettings.Networks)).toEqual(["bridge"]);
    await call("DELETE", "/networks/shown-network");
    const { body: exec } = await call("POST", `/containers/${container.id}/exec`, { Cmd: ["true"] });
    expect((await shown()).inspect.ExecIDs).toEqual([exec.Id]);
    await call("POST", `/containers/${container.id}/stop?t=0`);
    const stopped = await shown();
    expect(stopped).toMatchObject({
      list: { State: "exited", Status: expect.stringMatching(/^Exited \(137\)/) },
      inspect: { State: { Running: false }, ExecIDs: null },
    });
    expect(stopped.inspect.NetworkSettings.Networks.bridge.IPAddress).toBe("");
    expect((await call("GET", `/v1.24/containers/${container.id}/json`)).body.HostConfig).not.toHaveProperty("CgroupnsMode");
  });

  test("execs that nobody starts are forgotten, the oldest first", async () => {
    await using container = await running();
    const create = async (): Promise<string> => (await call("POST", `/containers/${container.id}/exec`, { Cmd: ["true"] })).body.Id;
    const first = await create();
    for (let round = 0; round < 10; round++) await Promise.all(Array.from({ length: 100 }, create));
    expect((await call("GET", `/exec/${first}/json`)).status).toBe(404);
    expect((await inspect(container.id)).ExecIDs).toHaveLength(1000);
  });
});
