import { afterEach, expect, test } from "bun:test";
import { join } from "node:path";
import { examplesOf } from "../documented.ts";
import { skips } from "../skips.ts";
import { Engine, run, suiteEngine, until } from "./harness.ts";

if (!skips.root.missing()) {
  const engine = suiteEngine();
  const { ok } = { ok: engine.ok.bind(engine) };
  afterEach(async () => {
    await engine.removeAll();
    const ids = (await ok("network", "ls", "-q", "--filter", "type=custom")).split("\n").filter(Boolean);
    // configuration-only networks last: others depend on them
    for (const id of [...ids, ...ids]) await engine.docker(["network", "rm", id]);
  });

  const api = async (method: string, path: string, body?: unknown): Promise<[status: number, answer: unknown]> => {
    const answer = await engine.api(method, path, body);
    const text = await answer.text();
    const json: unknown = text === "" ? undefined : JSON.parse(text);
    const { message } = (json ?? {}) as { message?: string };
    return [answer.status, message ?? json];
  };

  test("what the documentation shows", async () => {
    for (const line of examplesOf("networks.md")) {
      const [command = "", expected] = line.split(" # ").map((part) => part.trim());
      const args = [...command.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain!);
      const { code, stdout, stderr } = await engine.berth(args.slice(1));
      expect([line, code, stderr]).toEqual([line, 0, ""]);
      if (expected !== undefined) expect([line, stdout.trim().split(/ *\n/).join(", ")]).toEqual([line, expected]);
    }
  });

  test("configuration-only networks", async () => {
    const config = {
      Name: "cfg",
      ConfigOnly: true,
      IPAM: { Config: [{ Subnet: "10.7.0.0/24" }] },
      Options: { "com.docker.network.driver.mtu": "1400" },
      Labels: { a: "b" },
    };
    expect((await api("POST", "/networks/create", { ...config, Internal: true }))[0]).toBe(403);
    expect((await api("POST", "/networks/create", { ...config, IPAM: { Config: [{ Subnet: "10.7.0.1/24" }] } }))[0]).toBe(400);
    expect((await api("POST", "/networks/create", config))[0]).toBe(201);
    expect(await api("GET", "/networks/cfg")).toEqual([200, expect.objectContaining({ Driver: "null", ConfigOnly: true })]);
    expect(await api("POST", "/networks/create", { Name: "net", ConfigFrom: { Network: "nope" } })).toEqual([
      404,
      'configuration network "nope" does not exist',
    ]);
    expect(await api("POST", "/networks/create", { Name: "net", ConfigFrom: { Network: "cfg" }, Labels: { x: "y" } })).toEqual([
      403,
      "user-specified configurations are not supported if the network depends on a configuration network",
    ]);
    expect((await api("POST", "/networks/create", { Name: "net", ConfigFrom: { Network: "cfg" } }))[0]).toBe(201);
    const [, net] = await api("GET", "/networks/net");
    expect(net).toMatchObject({ Driver: "bridge", ConfigFrom: { Network: "cfg" }, Options: config.Options, Labels: config.Labels });
    expect(net).toMatchObject({ IPAM: { Config: [{ Subnet: "10.7.0.0/24", Gateway: "10.7.0.1" }] } });
    expect(await api("DELETE", "/networks/cfg")).toEqual([403, 'error while removing network: configuration network "cfg" is in use']);
    expect(await engine.refused("run", "--rm", "--network", "cfg", "busybox", "true")).toContain("cannot create endpoint on configuration-only network");
    await engine.removeAll();
    expect(await ok("network", "prune", "-f")).toContain("net");
    expect(await ok("network", "ls", "--filter", "type=custom", "--format", "{{.Name}}")).toBe("cfg");
  });

  test("what a network says of its addresses' origin: options as given, null where there is nothing", async () => {
    const bodies = { unsaid: {}, empty: { IPAM: { Options: {}, Config: null } }, given: { IPAM: { Options: { a: "b" } } } };
    for (const [Name, body] of Object.entries(bodies)) expect((await api("POST", "/networks/create", { Name, ...body }))[0]).toBe(201);
    const ipam = async (name: string): Promise<unknown> => ((await api("GET", `/networks/${name}`))[1] as { IPAM: unknown }).IPAM;
    const subnets = [{ Subnet: expect.any(String), Gateway: expect.any(String) }];
    expect(await ipam("unsaid")).toEqual({ Driver: "default", Options: null, Config: subnets });
    expect(await ipam("empty")).toEqual({ Driver: "default", Options: {}, Config: subnets });
    expect(await ipam("given")).toEqual({ Driver: "default", Options: { a: "b" }, Config: subnets });
    expect(await ipam("bridge")).toEqual({ Driver: "default", Options: null, Config: subnets });
    for (const name of ["host", "none"]) expect(await ipam(name)).toEqual({ Driver: "default", Options: null, Config: null });
    await ok("network", "rm", ...Object.keys(bodies));
  });

  test("a network of the swarm is refused as Docker does without a swarm", async () => {
    const noSwarm = 'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';
    for (const more of [{}, { ConfigOnly: true }, { Ingress: true }, { IPAM: { Config: [{ Subnet: "1.2.3.4/99" }] } }])
      expect(await api("POST", "/networks/create", { Name: "over", Driver: "overlay", ...more })).toEqual([403, noSwarm]);
  });

  test("inspect tells what is given out of each subnet, exactly, since API 1.52", async () => {
    await ok("network", "create", "--ipv6", "--subnet", "10.8.0.0/24", "--ip-range", "10.8.0.0/28", "--subnet", "fd08::/64", "net");
    await ok("run", "-d", "--network", "net", "--ip", "10.8.0.77", "busybox", "sleep", "1000");
    const text = await (await engine.api("GET", "/v1.52/networks/net")).text();
    expect(text).toContain('"10.8.0.0/24":{"IPsInUse":4,"DynamicIPsAvailable":14}');
    expect(text).toContain('"fd08::/64":{"IPsInUse":3,"DynamicIPsAvailable":18446744073709551613}');
    expect(await (await engine.api("GET", "/v1.51/networks/net")).text()).not.toContain("Status");
  });

  test("wishes that can't be granted are refused in Docker's words, and change nothing", async () => {
    await ok("network", "create", "--subnet", "10.9.0.0/29", "net");
    const links = async (): Promise<string[]> =>
      (await run([...engine.onHost, "busybox", "ip", "-o", "link"])).stdout.split("\n").map((line) => line.split(": ")[1] ?? "");
    const before = await links(); // bridges of networks removed before are still on their way out
    const subnet = (Subnet: string, more = {}): object => ({ IPAM: { Config: [{ Subnet, ...more }] } });
    for (const [body, status, message] of [
      [subnet("10.9.0.0/16"), 403, "invalid pool request: Pool overlaps with other one on this address space"],
      [
        subnet("10.10.0.0/24", { Gateway: "10.10.1.1" }),
        400,
        "invalid network config:\ninvalid gateway 10.10.1.1: parent subnet 10.10.0.0/24 doesn't contain this address",
      ],
      [subnet("10.10.0.0/24", { Gateway: "10.10.0.255" }), 403, "failed to allocate gateway (10.10.0.255): Address already in use"],
      [subnet("10.10.0.0/33"), 400, "invalid network config:\ninvalid subnet 10.10.0.0/33: invalid CIDR block notation"],
      [{ EnableIPv6: true, ...subnet("ff02::/64") }, 400, "multicast subnet 'ff02::/64' is not allowed"],
      [subnet("224.0.0.0/24"), 400, "multicast subnet '224.0.0.0/24' is not allowed"],
      [subnet("127.5.0.0/24"), 400, "loopback subnet '127.5.0.0/24' is not allowed"],
      [{ EnableIPv4: false }, 400, "IPv4 or IPv6 must be enabled"],
      [{ Ingress: true }, 403, "Ingress network can only be global scope network"],
      [{ Scope: "swarm" }, 403, "cannot create a swarm scoped network when swarm is not active"],
      [{ Options: { "com.docker.network.bridge.name": `br${engine.key}` } }, 403, expect.stringContaining("networks have same bridge name")],
    ] as const) {
      expect(await api("POST", "/networks/create", { Name: "bad", ...body })).toEqual([status, message]);
    }
    expect((await links()).filter((name) => !before.includes(name))).toEqual([]);

    const start = (...flags: string[]): Promise<string> => engine.refused("run", "--rm", "--network", "net", ...flags, "busybox", "true");
    await ok("run", "-d", "--name", "first", "--network", "net", "--ip", "10.9.0.6", "busybox", "sleep", "1000");
    expect(await start("--ip", "10.9.0.6")).toContain("Address already in use");
    expect(await start("--ip", "10.9.0.7")).toContain("Address already in use"); // broadcast
    const containers = await ok("ps", "-aq");
    expect(await start("--ip", "10.9.1.1")).toContain("no configured subnet contains IP address 10.9.1.1");
    expect(await start("--ip6", "fd09::9")).toContain("no configured subnet contains IP address fd09::9");
    for (const network of ["host", "none", "bridge"]) {
      expect(await engine.refused("create", "--network", network, "--ip", "10.9.0.9", "busybox", "true")).toContain(
        `invalid config for network ${network}: invalid endpoint settings:\nuser specified IP address is supported on user defined networks only`,
      );
    }
    expect(await ok("ps", "-aq")).toBe(containers);
    for (const name of ["aa", "bb", "cc", "dd"]) await ok("run", "-d", "--name", name, "--network", "net", "busybox", "sleep", "1000");
    expect(await start()).toMatch(/no available IPv4 addresses on this network's address pools: net \([0-9a-f]{64}\)/);
    await ok("rm", "-f", "bb");
    expect(await ok("run", "--rm", "--network", "net", "busybox", "hostname", "-i")).toBe("10.9.0.3");
    expect((await api("GET", "/networks?filters=%7B%22dangling%22%3A%5B%22x%22%5D%7D"))[0]).toBe(400);
    expect(await api("GET", "/networks/net?verbose=x")).toEqual([400, 'invalid value for verbose: x: strconv.ParseBool: parsing "x": invalid syntax']);
    expect((await api("GET", "/networks/net?scope=swarm"))[0]).toBe(404);
  });

  test("of networks of equal priority the first by name gives the default route and publishes, whoever was joined first", async () => {
    for (const [name, subnet] of Object.entries({ zoo: "10.21.0.0/24", ant: "10.22.0.0/24", aa: "10.23.0.0/24" }))
      await ok("network", "create", "--subnet", subnet, name);
    await ok("network", "create", "--internal", "a0");
    const via = async (): Promise<string> => /default via (\S+)/.exec(await ok("exec", "web", "ip", "route"))?.[1] ?? "";
    await ok("run", "-d", "--name", "web", "--network", "zoo", "--network", "ant", "--network", "a0", "-p", "8080:80", "busybox", "httpd", "-f", "-h", "/etc");
    const answers = async (): Promise<boolean> => (await run([...engine.onHost, "curl", "-sf", "http://127.0.0.1:8080/hostname"])).code === 0;
    expect([await via(), await answers()]).toEqual(["10.22.0.1", true]);
    await ok("network", "connect", "aa", "web");
    expect([await via(), await answers()]).toEqual(["10.23.0.1", true]);
    await ok("restart", "-t0", "web");
    expect([await via(), await answers()]).toEqual(["10.23.0.1", true]);
    await ok("network", "disconnect", "aa", "web");
    await ok("network", "disconnect", "ant", "web");
    expect([await via(), await answers()]).toEqual(["10.21.0.1", true]);
  });

  test("a container taken off `none` joins another network at once, and with its next start", async () => {
    await ok("network", "create", "--subnet", "10.24.0.0/24", "net");
    await ok("run", "-d", "--name", "lone", "--network", "none", "busybox", "sleep", "1000");
    const address = async (): Promise<string> => /inet (10\.24\.0\.\d+)/.exec(await ok("exec", "lone", "ip", "addr"))?.[1] ?? "";
    await ok("network", "disconnect", "none", "lone");
    await ok("network", "connect", "net", "lone");
    const told = "{{.NetworkSettings.Networks.net.IPAddress}}";
    expect(await address()).toBe(await ok("inspect", "-f", told, "lone"));
    expect(await ok("exec", "lone", "nslookup", "lone")).toContain(await address());
    await ok("restart", "-t0", "lone");
    expect(await address()).toBe(await ok("inspect", "-f", told, "lone"));
    await ok("network", "disconnect", "net", "lone");
    expect(await address()).toBe("");
    await ok("restart", "-t0", "lone");
    await ok("network", "connect", "net", "lone");
    expect(await address()).not.toBe("");
    await ok("stop", "-t0", "lone");
    expect(await ok("inspect", "-f", "{{json .NetworkSettings.Networks.net.DNSNames}}", "lone")).toMatch(/^\["lone","[0-9a-f]{12}"\]$/);
  });

  test("who shares the network of a container that has ended has no interface of it any more, nor the host", async () => {
    await ok("network", "create", "--subnet", "10.25.0.0/24", "net");
    await ok("run", "-d", "--name", "owner", "--network", "net", "busybox", "sleep", "1000");
    await ok("run", "-d", "--name", "guest", "--network", "container:owner", "busybox", "sleep", "1000");
    const interfaces = async (name: string): Promise<string> => (await ok("exec", name, "ls", "/sys/class/net")).replaceAll("\n", " ");
    expect(await interfaces("guest")).toBe("eth0 lo");
    await ok("restart", "-t0", "owner");
    // the link goes in a thread, by itself it would only with the guest
    await until("the guest has lost its link", async () => (await interfaces("guest")) === "lo");
    expect(await interfaces("owner")).toBe("eth0 lo");
    await ok("restart", "-t0", "guest");
    expect(await interfaces("guest")).toBe("eth0 lo");
  });

  test("a MAC address at a connection counts since API 1.54, before it was an echo of inspect", async () => {
    await ok("network", "create", "net");
    const macOf = (name: string): Promise<string> => ok("inspect", "-f", "{{.NetworkSettings.Networks.net.MacAddress}}", name);
    for (const [version, name] of [
      ["1.53", "old"],
      ["1.54", "new"],
    ] as const) {
      await ok("run", "-d", "--name", name, "busybox", "sleep", "1000");
      const body = { Container: name, EndpointConfig: { MacAddress: `02:00:00:00:00:0${name.length}` } };
      expect((await api("POST", `/v${version}/networks/net/connect`, body))[0]).toBe(200);
    }
    expect([await macOf("old"), await macOf("new")]).toEqual([expect.stringMatching(/^02:42:/), "02:00:00:00:00:03"]);
  });

  test("settings of the default network, and a network removed and made again by the same bridge and subnet", async () => {
    const flags = ["--bip", "10.60.0.1/16", "--fixed-cidr", "10.60.7.0/24", "--mtu", "1380", "--ipv6", "--bip6", "fd60::1/64"];
    await using other = await Engine.start([
      ...flags,
      "--default-network-opt",
      "bridge=com.docker.network.driver.mtu=1390",
      "--default-address-pool",
      "base=10.61.0.0/16,size=26",
    ]);
    await other.ok("load", "-i", await engineImage());
    const lines = (await other.ok("run", "--rm", "busybox", "ip", "addr", "show", "eth0")).split("\n").map((line) => line.trim());
    expect(lines[0]).toContain("mtu 1380");
    expect(lines.filter((line) => line.startsWith("inet")).map((line) => line.split(" ")[1])).toEqual(expect.arrayContaining(["10.60.7.0/16", "fd60::2/64"]));
    for (let i = 0; i < 5; i++) {
      await other.ok("network", "create", "-o", "com.docker.network.bridge.name=br-again", "again");
      expect(await other.ok("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}} {{.Options}}", "again")).toBe(
        "10.61.0.0/26 map[com.docker.network.bridge.name:br-again com.docker.network.driver.mtu:1390]",
      );
      expect(await other.ok("run", "--rm", "--network", "again", "busybox", "hostname", "-i")).toBe("10.61.0.2");
      await other.ok("network", "rm", "again");
    }
  });

  test("with icc=false a link opens what the linked container exposes, to the other alone, also after restarts of both and of the engine", async () => {
    await using apart = await Engine.start(["--icc=false"]);
    await apart.ok("load", "-i", await engineImage());
    const sleeper = ["busybox", "sleep", "1000"];
    await apart.ok("run", "-d", "--name", "db", "--expose", "80", "busybox", "sh", "-c", "httpd -p 80 -h /etc; httpd -f -p 81 -h /etc");
    await apart.ok("run", "-d", "--name", "stranger", ...sleeper);
    await apart.ok("run", "-d", "--name", "web", "--link", "db:database", ...sleeper);
    const reach = async (from: string, port: number): Promise<boolean> => {
      const address = await apart.ok("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "db");
      const request = `printf 'GET /hostname HTTP/1.0\\r\\n\\r\\n' | timeout 1 nc ${address} ${port} | grep -q 200`;
      return (await apart.docker(["exec", from, "sh", "-c", request])).code === 0;
    };
    expect([await reach("web", 80), await reach("web", 81), await reach("stranger", 80), await reach("stranger", 81)]).toEqual([true, false, false, false]);
    const reached = async (): Promise<boolean[]> => [await reach("web", 80), await reach("stranger", 80)];
    await apart.stop();
    await apart.start();
    expect(await reached()).toEqual([true, false]);
    // it comes back with another address
    await apart.ok("stop", "-t0", "db");
    await apart.ok("run", "-d", ...sleeper);
    await apart.ok("start", "db");
    expect(await reached()).toEqual([true, false]);
    await apart.ok("restart", "-t0", "web");
    expect(await reached()).toEqual([true, false]);
    await apart.ok("rm", "--link", "/web/database");
    expect(await reached()).toEqual([false, false]);
  });

  /** The suite's image as an archive. */
  async function engineImage(): Promise<string> {
    const file = join(engine.root, "busybox.tar");
    await ok("save", "-o", file, "busybox");
    return file;
  }
}
