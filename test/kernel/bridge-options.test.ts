import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import type { NetworkRecord } from "../../src/networks/types.ts";
import { skips } from "../skips.ts";
import { ask, eventually, Lab, reaches, run, serve } from "./network-lab.ts";
import { inOwnNamespace } from "./own-namespace.ts";

/** The options of Docker's bridge driver, and of the engine's for the default network, by what they do to traffic. */
if (!skips.root.missing()) {
  inOwnNamespace(import.meta.path, "options of bridge networks", () => {
    let lab: Lab;
    const inside = (path: string, ...command: string[]): Promise<string> => run("nsenter", `--net=${path}`, ...command);
    const outside = (...command: string[]): Promise<string> => inside(lab.outside, ...command);
    const pings = (address: string): Promise<boolean> => reaches(lab.outside, address, 1);

    /** A network at 10.9.0.0/24 (and fd09::/64), which the outside world has a route to. */
    const network = (options: Record<string, string>, more: Partial<NetworkRecord> = {}): Promise<NetworkRecord> =>
      lab.networks.create({
        name: "net",
        options,
        ipam: { driver: "default", options: {}, config: [{ subnet: "10.9.0.0/24" }, { subnet: "fd09::/64" }] },
        ...more,
      });

    beforeAll(async () => {
      lab = await Lab.open();
      await run("ip", "addr", "add", "192.0.2.3/24", "dev", "world");
      await run("ip", "-6", "addr", "add", "2001:db8::1/64", "dev", "world", "nodad");
      await outside("ip", "-6", "addr", "add", "2001:db8::9/64", "dev", "eth0", "nodad");
      await outside("ip", "route", "add", "10.9.0.0/24", "via", "192.0.2.1");
      await outside("ip", "route", "add", "172.17.0.0/16", "via", "192.0.2.1");
      await outside("ip", "-6", "route", "add", "fd09::/64", "via", "2001:db8::1");
    });
    afterEach(async () => {
      lab.removeAll();
      await lab.removeNetworks();
    });
    afterAll(() => lab[Symbol.asyncDispose]());

    test("gateway mode routed: containers show their own addresses, published ports and pings are let in, nothing else is", async () => {
      const routed = { "com.docker.network.bridge.gateway_mode_ipv4": "routed", "com.docker.network.bridge.gateway_mode_ipv6": "routed" };
      await network(routed, { enableIPv6: true });
      const other = await lab.container();
      const { endpoint, path, id } = await lab.container({ network: "net", portBindings: { "80/tcp": [{ HostPort: "8080" }], "80/udp": [{}] } });
      expect(endpoint.ports).toEqual([
        { proto: "tcp", containerPort: 80, hostIp: "0.0.0.0", hostPort: 0 },
        { proto: "tcp", containerPort: 80, hostIp: "::", hostPort: 0 },
        { proto: "udp", containerPort: 80, hostIp: "0.0.0.0", hostPort: 0 },
        { proto: "udp", containerPort: 80, hostIp: "::", hostPort: 0 },
      ]);
      using _a = await serve(path, "a", 80, 80, "::");
      using _b = await serve(path, "b", 81, 81, "::");
      using _world = await serve(lab.outside, "world", 7, 7, "::");
      for (const address of ["10.9.0.2", "fd09::2"]) {
        expect(`${address} ${await ask(lab.outside, "tcp", address, 80)}`).toStartWith(`${address} a `);
        expect(`${address} ${await ask(lab.outside, "udp", address, 80)}`).toStartWith(`${address} a `);
        expect(await ask(lab.outside, "tcp", address, 81)).toBe("error timeout");
        expect(await pings(address)).toBe(true);
      }
      expect(await ask(other.path, "tcp", "10.9.0.2", 80)).toStartWith("a "); // from another network
      expect(await ask(other.path, "tcp", "10.9.0.2", 81)).toBe("error timeout");
      expect(await ask(path, "tcp", "192.0.2.9", 7)).toContain("world"); // no masquerading:
      expect(await ask(path, "tcp", "192.0.2.9", 7)).toContain("10.9.0.2");
      expect(await ask(path, "tcp", "2001:db8::9", 7)).toContain("fd09::2");
      expect(await ask(lab.outside, "tcp", "192.0.2.1", 8080)).toBe("error ECONNREFUSED"); // no port of the host

      await lab.restart([id, other.id]);
      expect(await ask(lab.outside, "tcp", "10.9.0.2", 80)).toStartWith("a ");
      lab.remove(id);
      expect(await run("nft", "list", "set", "inet", "berth_abc123", "d4")).not.toContain("10.9.0.2");
    });

    test("one family routed, the other translated", async () => {
      await network({ "com.docker.network.bridge.gateway_mode_ipv6": "routed" }, { enableIPv6: true });
      const { endpoint, path } = await lab.container({ network: "net", portBindings: { "80/tcp": [{ HostPort: "8080" }] } });
      expect(endpoint.ports.map(({ hostIp, hostPort }) => `${hostIp} ${hostPort}`)).toEqual(["0.0.0.0 8080", ":: 0"]);
      using _a = await serve(path, "a", 80, 80, "::");
      expect(await ask(lab.outside, "tcp", "fd09::2", 80)).toBe("a 2001:db8::9");
      expect(await ask(lab.outside, "tcp", "192.0.2.1", 8080)).toContain("192.0.2.9");
      expect(await ask(lab.outside, "tcp", "10.9.0.2", 80)).toBe("error timeout");
    });

    test("gateway mode nat-unprotected: every port of a container's address is reached, and it leaves under the host's", async () => {
      await network({ "com.docker.network.bridge.gateway_mode_ipv4": "nat-unprotected" });
      const { path } = await lab.container({ network: "net" });
      using _a = await serve(path, "a", 81, 81);
      using _world = await serve(lab.outside, "world", 7, 7);
      expect(await ask(lab.outside, "tcp", "10.9.0.2", 81)).toBe("a 192.0.2.9");
      expect(await pings("10.9.0.2")).toBe(true);
      expect(await ask(path, "tcp", "192.0.2.9", 7)).toBe("world 192.0.2.1");
    });

    test("nat-unprotected doesn't let a network's own containers talk where icc is false, nor internal networks out", async () => {
      await network({ "com.docker.network.bridge.gateway_mode_ipv4": "nat-unprotected", "com.docker.network.bridge.enable_icc": "false" });
      await lab.networks.create({ name: "inner", internal: true });
      const [a, b, inner] = [await lab.container({ network: "net" }), await lab.container({ network: "net" }), await lab.container({ network: "inner" })];
      using _a = await serve(a.path, "a", 81, 81);
      expect(await ask(b.path, "tcp", "10.9.0.2", 81)).toMatch(/^error/);
      await inside(inner.path, "ip", "route", "add", "default", "via", lab.networks.resolve("inner").ipam.config[0]!.gateway!);
      expect(await ask(inner.path, "tcp", "10.9.0.2", 81)).toBe("error timeout");
    });

    test("gateway mode isolated: an internal network without an address of the host", async () => {
      const isolated = { "com.docker.network.bridge.gateway_mode_ipv4": "isolated", "com.docker.network.bridge.gateway_mode_ipv6": "isolated" };
      await expect(network(isolated)).rejects.toThrow("gateway mode 'isolated' can only be used for an internal network");
      const { id, ipam } = await network(isolated, { internal: true, enableIPv6: true });
      expect(ipam.config).toEqual([{ subnet: "10.9.0.0/24" }, { subnet: "fd09::/64" }]);
      expect(await run("ip", "-br", "addr", "show", `br-${id.slice(0, 12)}`)).not.toMatch(/10\.9|fd09/);
      const [a, b] = [await lab.container({ network: "net" }), await lab.container({ network: "net" })];
      expect(a.endpoint).toMatchObject({ ipv4: "10.9.0.1", ipv6: "fd09::1" });
      using _a = await serve(a.path, "a", 80, 80, "::");
      expect(await ask(b.path, "tcp", "10.9.0.1", 80)).toContain("a ");
      expect(await ask(b.path, "tcp", "fd09::1", 80)).toContain("a ");
    });

    test("a bridge without an address goes with its network", async () => {
      for (const [options, more] of [
        [{ "com.docker.network.bridge.inhibit_ipv4": "true" }, {}],
        [{ "com.docker.network.bridge.gateway_mode_ipv4": "isolated" }, { internal: true }],
      ] as const) {
        const { id } = await network(options, { ...more, ipam: { driver: "default", config: [{ subnet: "10.9.0.0/24" }] } });
        const bridge = `br-${id.slice(0, 12)}`;
        expect(await run("ip", "-br", "link")).toContain(bridge);
        await lab.networks.remove("net");
        await eventually(async () => !(await run("ip", "-br", "link")).includes(bridge), "the bridge is gone");
      }
    });

    test("inhibit_ipv4 leaves the bridge without an IPv4 address; the gateway is somebody else", async () => {
      const { id } = await network({ "com.docker.network.bridge.inhibit_ipv4": "true" });
      expect(await run("ip", "-br", "-4", "addr", "show", `br-${id.slice(0, 12)}`)).toBe("");
      const { path } = await lab.container({ network: "net" });
      expect(await inside(path, "ip", "route", "show", "default")).toContain("via 10.9.0.1");
    });

    test("host_ipv4 and host_ipv6 are the addresses that containers leave with", async () => {
      await run("ip", "-6", "addr", "add", "2001:db8::3/64", "dev", "world", "nodad");
      await network({ "com.docker.network.host_ipv4": "192.0.2.3", "com.docker.network.host_ipv6": "2001:db8::3" }, { enableIPv6: true });
      const { path } = await lab.container({ network: "net" });
      using _world = await serve(lab.outside, "world", 7, 7, "::");
      expect(await ask(path, "tcp", "192.0.2.9", 7)).toContain("192.0.2.3");
      expect(await ask(path, "tcp", "2001:db8::9", 7)).toContain("2001:db8::3");
    });

    test("trusted host interfaces, --allow-direct-routing and --bridge-accept-fwmark", async () => {
      await network({ "com.docker.network.bridge.trusted_host_interfaces": "lo:world" });
      const portBindings = { "80/tcp": [{ HostPort: "8080" }] };
      const trusting = await lab.container({ network: "net", portBindings });
      const plain = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8081" }] } });
      const address = plain.endpoint.ipv4!;
      using _a = await serve(trusting.path, "a", 80, 80);
      using _b = await serve(trusting.path, "b", 81, 81);
      using _c = await serve(plain.path, "c", 80, 80);
      expect(await ask(lab.outside, "tcp", "10.9.0.2", 80)).toBe("a 192.0.2.9");
      expect(await ask(lab.outside, "tcp", "10.9.0.2", 81)).toBe("error timeout");
      expect(await ask(lab.outside, "tcp", address, 80)).toBe("error timeout");
      lab.remove(trusting.id);
      const restart = (changes: Parameters<Lab["start"]>[0]): Promise<void> => lab.restart([plain.id], changes);
      await restart({ allowDirectRouting: true });
      expect(await ask(lab.outside, "tcp", address, 80)).toBe("c 192.0.2.9");
      await restart({ bridgeAcceptFwmark: "0x20/0x30" });
      expect(await ask(lab.outside, "tcp", address, 80)).toBe("error timeout");
      await run("nft", "add table ip marks; add chain ip marks pre { type filter hook prerouting priority mangle; }; add rule ip marks pre meta mark set 0x11");
      expect(await ask(lab.outside, "tcp", address, 80)).toBe("error timeout");
      await run("nft", "flush chain ip marks pre; add rule ip marks pre meta mark set 0x2f");
      expect(await ask(lab.outside, "tcp", address, 80)).toBe("c 192.0.2.9");
      await run("nft", "delete table ip marks");
      await restart({});
    });

    test("enable_ip_masquerade=false: own addresses outside, and its own published ports still work", async () => {
      await network({ "com.docker.network.bridge.enable_ip_masquerade": "false" });
      const { path } = await lab.container({ network: "net", portBindings: { "80/tcp": [{ HostPort: "8080" }] } });
      const other = await lab.container({ network: "net" });
      using _a = await serve(path, "a", 80, 80);
      using _world = await serve(lab.outside, "world", 7, 7);
      expect(await ask(path, "tcp", "192.0.2.9", 7)).toBe("world 10.9.0.2");
      expect(await ask(other.path, "tcp", "192.0.2.1", 8080)).toStartWith("a ");
      expect(await ask(path, "tcp", "192.0.2.1", 8080)).toStartWith("a ");
    });

    test("MTU, prefix of interfaces, and a default route by another than the bridge", async () => {
      const { id } = await network(
        { "com.docker.network.driver.mtu": "1400", "com.docker.network.container_iface_prefix": "lan" },
        {
          enableIPv6: true,
          ipam: {
            driver: "default",
            options: {},
            config: [
              { subnet: "10.9.0.0/24", auxAddresses: { DefaultGatewayIPv4: "10.9.0.9" } },
              { subnet: "fd09::/64", auxAddresses: { DefaultGatewayIPv6: "fd09::9" } },
            ],
          },
        },
      );
      const { path } = await lab.container({ network: "net" });
      expect(await run("ip", "link", "show", `br-${id.slice(0, 12)}`)).toContain("mtu 1400");
      expect(await inside(path, "ip", "link", "show", "lan0")).toContain("mtu 1400");
      expect(await inside(path, "ip", "route", "show", "default")).toContain("via 10.9.0.9");
      expect(await inside(path, "ip", "-6", "route", "show", "default")).toContain("via fd09::9");
      lab.removeAll();
      await eventually(async () => !(await run("ip", "link", "show", "master", `br-${id.slice(0, 12)}`)).includes("veth"), "the last container's link is gone");
      expect(await run("ip", "link", "show", `br-${id.slice(0, 12)}`)).toContain("mtu 1400");
    });

    test("each family has its default route, by priority and then by who was first; it moves when a network goes", async () => {
      const make = (name: string, subnet: string, enableIPv4 = true): Promise<NetworkRecord> =>
        lab.networks.create({ name, enableIPv4, enableIPv6: subnet.includes(":"), ipam: { driver: "default", options: {}, config: [{ subnet }] } });
      await make("b", "10.11.0.0/24");
      await make("a", "10.12.0.0/24");
      await make("six", "fd13::/64", false);
      await network({ "com.docker.network.container_iface_prefix": "both" }, { enableIPv6: true });
      await lab.networks.create({ name: "0", internal: true });
      const { id, path } = await lab.container({ network: "b" });
      const join = (network: string, settings = {}): Promise<unknown> =>
        lab.networks.connect({ containerId: id, containerName: "c", hostname: "c", network, settings, portBindings: {} });
      const routes = async (): Promise<string[]> =>
        [await inside(path, "ip", "route", "show", "default"), await inside(path, "ip", "-6", "route", "show", "default")].map((each) =>
          each.replace(/ dev.*/, ""),
        );
      await join("six");
      expect(await routes()).toEqual(["default via 10.11.0.1", "default via fd13::1"]);
      await join("0");
      await join("a", { GwPriority: 1 });
      expect(await routes()).toEqual(["default via 10.12.0.1", "default via fd13::1"]);
      // of equals the one that leads outside by both families, as in Docker
      await join("net", { GwPriority: 1 });
      expect(await routes()).toEqual(["default via 10.9.0.1", "default via fd09::1"]);
      await lab.networks.disconnect(id, "six");
      await join("six", { GwPriority: 2 });
      expect(await routes()).toEqual(["default via 10.9.0.1", "default via fd13::1"]);
      await lab.networks.disconnect(id, "b");
      const bad = { GwPriority: 3, DriverOpts: { "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.nonsense=1" } };
      // not by `rejects`: Bun turns its loop inside of that, and hears no Worker
      expect(await join("b", bad).catch(String)).toContain("there is no such setting");
      expect(await routes()).toEqual(["default via 10.9.0.1", "default via fd13::1"]);
      await lab.networks.disconnect(id, "a");
      expect(await routes()).toEqual(["default via 10.9.0.1", "default via fd13::1"]);
      await lab.networks.disconnect(id, "six");
      expect(await routes()).toEqual(["default via 10.9.0.1", "default via fd09::1"]);
      await lab.networks.disconnect(id, "net");
      expect(await routes()).toEqual(["", ""]);
    });

    test("settings of the default network: addresses, MTU, icc, masquerading, IPv6, gateways", async () => {
      const settings = { fixedCidr: "172.30.1.0/24", bip: "172.30.0.1/16", mtu: 1300, icc: false, ipMasq: false, ipv6: true, defaultGateway: "172.30.0.9" };
      const restart = (changes: Parameters<Lab["start"]>[0]): Promise<void> => lab.restart([], changes);
      await restart({ ...settings, fixedCidrV6: "fd0a::/80", bip6: "fd0a::1/64", defaultGatewayV6: "fd0a::9" });
      expect(lab.networks.resolve("bridge")).toMatchObject({
        enableIPv6: true,
        ipam: {
          config: [
            { subnet: "172.30.0.0/16", ipRange: "172.30.1.0/24", gateway: "172.30.0.1", auxAddresses: { DefaultGatewayIPv4: "172.30.0.9" } },
            { subnet: "fd0a::/64", ipRange: "fd0a::/80", gateway: "fd0a::1", auxAddresses: { DefaultGatewayIPv6: "fd0a::9" } },
          ],
        },
        options: {
          "com.docker.network.bridge.enable_icc": "false",
          "com.docker.network.bridge.enable_ip_masquerade": "false",
          "com.docker.network.driver.mtu": "1300",
        },
      });
      const [a, b] = [await lab.container(), await lab.container()];
      expect(a.endpoint).toMatchObject({ ipv4: "172.30.1.0", gateway: "172.30.0.9", ipv6: "fd0a::2", gateway6: "fd0a::9" });
      expect(await inside(a.path, "ip", "link", "show", "eth0")).toContain("mtu 1300");
      using _a = await serve(a.path, "a", 80, 80);
      expect(await ask(b.path, "tcp", a.endpoint.ipv4!, 80)).toMatch(/^error/);
      await lab.restart([a.id, b.id]);
      expect(await ask(b.path, "tcp", a.endpoint.ipv4!, 80)).toStartWith("a "); // icc again, for those who live, too
      lab.remove(a.id, b.id);

      await restart({ fixedCidr: "172.31.8.0/24", ipv6: true });
      expect(lab.networks.resolve("bridge").ipam.config[0]).toEqual({ subnet: "172.31.8.0/24", ipRange: "172.31.8.0/24", gateway: "172.31.8.1" });
      expect(lab.networks.resolve("bridge").ipam.config[1]!.subnet).toMatch(/^fd[0-9a-f:]+::\/64$/);
      await restart({});
      expect(lab.networks.resolve("bridge")).toMatchObject({ enableIPv6: false });
      expect(await run("ip", "-br", "link", "show", "brabc123")).toContain("UP");
      expect(await run("ip", "link", "show", "brabc123")).toContain("mtu 1500");

      await lab.networks.close({ containersLive: false });
      lab.networks = lab.start({ bip: "172.30.0.1/16", defaultGateway: "172.31.0.1" });
      await expect(lab.networks.restore(new Set())).rejects.toThrow("--default-gateway 172.31.0.1 is outside the subnet 172.30.0.0/16 of the default bridge");
      await restart({ bip: "172.30.0.1/24", fixedCidr: "172.30.0.0/16" }).catch((error: unknown) =>
        expect(String(error)).toContain("--fixed-cidr 172.30.0.0/16 is outside the subnet 172.30.0.0/24"),
      );
      await restart({});
    });

    test("automatic subnets keep away from the host's routes, unless these cover every pool; default routes in disguise don't count", async () => {
      const subnetOf = async (name: string): Promise<string> => (await lab.networks.create({ name })).ipam.config[0]!.subnet;
      const routes = ["0.0.0.0/1", "128.0.0.0/1", "172.17.0.0/16", "172.18.0.0/16"]; // as OpenVPN's def1
      for (const route of routes) await run("ip", "route", "add", route, "via", "192.0.2.9");
      await run("ip", "addr", "add", "172.19.3.4/24", "dev", "world");
      expect(await subnetOf("one")).toBe("172.20.0.0/16");
      const vpn = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
      for (const route of vpn) await run("ip", "route", "add", route, "via", "192.0.2.9");
      expect(await subnetOf("two")).toBe("172.17.0.0/16");
      for (const route of [...vpn, ...routes]) await run("ip", "route", "del", route);
      await run("ip", "addr", "del", "172.19.3.4/24", "dev", "world");
    });

    test("a bridge whose network's removal a crash cut short goes at the next start; another engine's stays", async () => {
      const { id } = await network({});
      expect(await run("ip", "link", "show", `br-${id.slice(0, 12)}`)).toContain("alias berth abc123 bridge");
      for (const [name, key] of [
        ["left", "abc123"],
        ["theirs", "fedcba"],
      ] as const)
        await run("sh", "-c", `ip link add ${name} type bridge && ip link set ${name} alias "berth ${key} bridge"`);
      await lab.restart();
      await eventually(async () => !(await run("ip", "-br", "link")).includes("left "), "the forgotten bridge is gone");
      expect(await run("ip", "-br", "link")).toContain("theirs ");
      await run("ip", "link", "del", "theirs");
    });

    test("a subnet and a bridge's name are free again when a removal is answered", async () => {
      for (let i = 0; i < 5; i++) {
        await network({ "com.docker.network.bridge.name": "br-again" });
        expect(lab.networks.resolve("net").foreign).toBeUndefined();
        const { id, path } = await lab.container({ network: "net" });
        expect(await inside(path, "busybox", "ping", "-c1", "-W2", "10.9.0.1")).toContain("1 packets received");
        lab.remove(id);
        await lab.networks.remove("net");
      }
    });

    test("options that can't be honoured are refused by name, and nothing is made", async () => {
      // bridges of networks removed before are still on their way out
      const links = async (): Promise<string[]> => (await run("ip", "-br", "link")).split("\n").map((line) => line.split(" ")[0]!);
      const before = await links();
      for (const [options, text] of [
        [
          { "com.docker.network.bridge.enable_icc": "maybe" },
          'failed to parse com.docker.network.bridge.enable_icc value: maybe (strconv.ParseBool: parsing "maybe": invalid syntax)',
        ],
        [
          { "com.docker.network.bridge.gateway_mode_ipv4": "direct" },
          "failed to parse com.docker.network.bridge.gateway_mode_ipv4 value: direct (unknown gateway mode direct)",
        ],
        [{ "com.docker.network.bridge.host_binding_ipv4": "x" }, "failed to parse com.docker.network.bridge.host_binding_ipv4 value: x (nil ip)"],
        [{ "com.docker.network.host_ipv4": "fd00::1" }, "failed to parse com.docker.network.host_ipv4 value: fd00::1 (not an IPv4 address)"],
        [{ "com.docker.network.driver.mtu": "big" }, 'failed to parse com.docker.network.driver.mtu value: big (strconv.Atoi: parsing "big": invalid syntax)'],
        [{ "com.docker.network.driver.mtu": "-1" }, "invalid MTU number: -1"],
        [{ "com.docker.network.bridge.trusted_host_interfaces": 'eth0:"; flush ruleset' }, "is not an interface name"],
        [{ "com.docker.network.bridge.name": 'x"; flush' }, "is not an interface name"],
        [{ "com.docker.network.bridge.name": "lo" }, "interface lo exists and is no bridge"],
      ] as const)
        await expect(network({ ...options })).rejects.toThrow(text);
      await expect(network({ "com.docker.network.driver.mtu": "1279" }, { enableIPv6: true })).rejects.toThrow("IPv6 needs 1280 at least");
      expect((await links()).filter((name) => !before.includes(name))).toEqual([]);
      expect(lab.networks.list()).toHaveLength(3);
    });
  });
}
