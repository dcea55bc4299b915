import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { NETLINK_NETFILTER, NetlinkSocket } from "../../src/kernel/netlink.ts";
import { deleteFlows } from "../../src/kernel/netlink-conntrack.ts";
import { AF_INET } from "../../src/kernel/socket.ts";
import { bytesOf, parseAddress } from "../../src/lib/address.ts";
import { countRounds } from "../rounds.ts";
import { skips } from "../skips.ts";
import { ask, eventually, Lab, lookUp, run, serve, serveNames } from "./network-lab.ts";
import { outcome } from "../outcome.ts";
import { inOwnNamespace } from "./own-namespace.ts";

if (!skips.root.missing()) {
  inOwnNamespace(import.meta.path, "networks in the kernel", () => {
    let lab: Lab;
    let rulesBefore = "";

    beforeAll(async () => {
      rulesBefore = await run("nft", "list", "ruleset");
      lab = await Lab.open();
    });
    afterEach(() => lab.removeAll());
    afterAll(() => lab[Symbol.asyncDispose]());

    const links = async (): Promise<string[]> => (await run("ip", "-br", "link")).split("\n").map((line) => line.split(/[@ ]/)[0]!);

    test("containers on the default bridge reach each other", async () => {
      const [a, b] = [await lab.container(), await lab.container()];
      using _server = await serve(b.path, "b", 80, 80);
      expect(await ask(a.path, "tcp", b.endpoint.ipv4!, 80)).toBe(`b ${a.endpoint.ipv4}`);
      expect(await ask(a.path, "udp", b.endpoint.ipv4!, 80)).toBe(`b ${a.endpoint.ipv4}`);
      expect(await run("nsenter", `--net=${a.path}`, "busybox", "ping", "-c1", "-W2", b.endpoint.ipv4!)).toContain("1 packets received");
      expect(a.endpoint).toMatchObject({
        ipv4: "172.17.0.2",
        ipv4PrefixLength: 16,
        gateway: "172.17.0.1",
        macAddress: "02:42:ac:11:00:02",
        containerInterface: "eth0",
      });
      lab.remove(a.id, b.id);
    });

    test("what containers send out bears the host's address, and nobody outside reaches a container's own address", async () => {
      const a = await lab.container();
      using _world = await serve(lab.outside, "world", 7, 7);
      expect(await ask(a.path, "tcp", "192.0.2.9", 7)).toBe("world 192.0.2.1");
      expect(await ask(a.path, "udp", "192.0.2.9", 7)).toBe("world 192.0.2.1");
      using _server = await serve(a.path, "a", 80, 80);
      await run("nsenter", `--net=${lab.outside}`, "ip", "route", "add", "172.17.0.0/16", "via", "192.0.2.1");
      expect(await ask(lab.outside, "tcp", a.endpoint.ipv4!, 80)).toBe("error timeout");
      lab.remove(a.id);
    });

    test("a published port answers outside, on the host by 127.0.0.1, its own address and ::1, and inside by the gateway", async () => {
      const a = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }], "81/udp": [{ HostPort: "8081" }] } });
      const b = await lab.container();
      using _server = await serve(a.path, "a", 80, 81);
      expect(a.endpoint.ports).toEqual([
        { proto: "tcp", containerPort: 80, hostIp: "0.0.0.0", hostPort: 8080 },
        { proto: "tcp", containerPort: 80, hostIp: "::", hostPort: 8080 },
        { proto: "udp", containerPort: 81, hostIp: "0.0.0.0", hostPort: 8081 },
        { proto: "udp", containerPort: 81, hostIp: "::", hostPort: 8081 },
      ]);
      expect(await ask(lab.outside, "tcp", "192.0.2.1", 8080)).toBe("a 192.0.2.9");
      expect(await ask(lab.outside, "udp", "192.0.2.1", 8081)).toBe("a 192.0.2.9");
      for (const host of ["127.0.0.1", "192.0.2.1", "172.17.0.1", "::1"]) {
        expect(`${host} ${await ask(undefined, "tcp", host, 8080)}`).toStartWith(`${host} a `);
        expect(`${host} ${await ask(undefined, "udp", host, 8081)}`).toStartWith(`${host} a `);
      }
      expect(await ask(b.path, "tcp", "172.17.0.1", 8080)).toStartWith("a ");
      expect(await ask(a.path, "tcp", "192.0.2.1", 8080)).toStartWith("a "); // its own port, back through the host
      lab.remove(a.id, b.id);
      expect(await ask(lab.outside, "tcp", "192.0.2.1", 8080)).toBe("error ECONNREFUSED");
    });

    test("an administrator's bridge keeps its addresses, and outlives the network that used it", async () => {
      await run("sh", "-c", "ip link add theirs type bridge; ip addr add 198.51.100.1/24 dev theirs; ip link set theirs up");
      try {
        const { id } = await lab.networks.create({ name: "on-theirs", options: { "com.docker.network.bridge.name": "theirs" } });
        expect(await run("ip", "-br", "-4", "addr", "show", "theirs")).toContain("198.51.100.1/24");
        await lab.networks.remove(id);
        expect(await links()).toContain("theirs");
      } finally {
        await run("ip", "link", "del", "theirs");
      }
    });

    test("a port for one host address answers on that alone", async () => {
      const a = await lab.container({ portBindings: { "80/tcp": [{ HostIp: "127.0.0.1", HostPort: "8080" }] } });
      using _server = await serve(a.path, "a", 80, 80);
      expect(await ask(undefined, "tcp", "127.0.0.1", 8080)).toStartWith("a ");
      expect(await ask(lab.outside, "tcp", "192.0.2.1", 8080)).toBe("error ECONNREFUSED");
      lab.remove(a.id);
    });

    test("a container can't reach services on the host's loopback", async () => {
      const a = await lab.container();
      using _server = await serve(undefined, "host", 9, 9, "127.0.0.1");
      await run("nsenter", `--net=${a.path}`, "sh", "-c", "ip route add 127.0.0.9/32 via 172.17.0.1; echo 1 >/proc/sys/net/ipv4/conf/eth0/route_localnet");
      expect(await ask(a.path, "tcp", "172.17.0.1", 9)).toBe("error ECONNREFUSED");
      expect(await ask(a.path, "tcp", "127.0.0.9", 9)).toMatch(/^error /);
      lab.remove(a.id);
    });

    test("a taken port is refused in Docker's words and leaves nothing behind", async () => {
      const first = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }] } });
      const id = lab.newId();
      await lab.networks.createNamespace(id);
      const wanted = { containerId: id, containerName: "second", hostname: "second", network: "bridge", settings: {} };
      expect(() => lab.networks.allocate({ ...wanted, portBindings: { "81/tcp": [{ HostPort: "8082" }], "80/tcp": [{ HostPort: "8080" }] } })).toThrow(
        /driver failed programming external connectivity on endpoint second \([0-9a-f]{64}\): Bind for 0\.0\.0\.0:8080 failed: port is already allocated/,
      );
      using _server = await serve(undefined, "host", 8083, 8083);
      expect(() => lab.networks.allocate({ ...wanted, portBindings: { "80/tcp": [{ HostPort: "8083" }] } })).toThrow(
        "failed to bind host port 0.0.0.0:8083/tcp: address already in use",
      );
      expect(lab.networks.endpointsOfContainer(id)).toEqual([]);
      // what the failed one had taken is free again
      const endpoint = await lab.networks.allocate({ ...wanted, portBindings: { "81/tcp": [{ HostPort: "8082" }] } });
      expect(endpoint.ipv4).toBe("172.17.0.3");
      lab.remove(first.id, id);
    });

    test("free ports and ranges are chosen; one number serves both families", async () => {
      const a = await lab.container({ portBindings: { "80/tcp": [{}], "81/tcp": [{ HostIp: "127.0.0.1", HostPort: "9000-9001" }] } });
      const b = await lab.container({ portBindings: { "81/tcp": [{ HostIp: "127.0.0.1", HostPort: "9000-9001" }] } });
      const [ranged, v4, v6] = a.endpoint.ports;
      expect(ranged).toMatchObject({ hostIp: "127.0.0.1", hostPort: 9000 });
      expect(b.endpoint.ports[0]).toMatchObject({ hostIp: "127.0.0.1", hostPort: 9001 });
      expect(v4!.hostPort).toBeGreaterThanOrEqual(32768);
      expect(v6).toMatchObject({ hostIp: "::", hostPort: v4!.hostPort });
      lab.remove(a.id, b.id);
    });

    test("a UDP publication that moves to another container takes its clients along", async () => {
      const portBindings = { "81/udp": [{ HostPort: "8081" }] };
      const asking = (): Promise<string> => ask(lab.outside, "udp", "192.0.2.1", 8081, 5555); // one port: one flow in conntrack
      const a = await lab.container({ portBindings });
      const blocker = await lab.container();
      {
        using _server = await serve(a.path, "a", 80, 81);
        expect(await asking()).toStartWith("a ");
      }
      lab.remove(a.id);
      const keep = await lab.container(); // takes the address that came free
      const b = await lab.container({ portBindings });
      expect(b.endpoint.ipv4).not.toBe(a.endpoint.ipv4);
      // at once, before there is anything to ask
      using netfilter = NetlinkSocket.open(NETLINK_NETFILTER);
      const container = bytesOf(parseAddress(b.endpoint.ipv4!)!);
      expect(deleteFlows(netfilter, [{ family: AF_INET, protocol: 17, port: 8081, led: "elsewhere", container }], () => true)).toBe(0);
      using _server = await serve(b.path, "b", 80, 81);
      expect(await asking()).toStartWith("b ");
      lab.remove(b.id, keep.id, blocker.id);
    });

    test("networks are apart; an internal one has no way out", async () => {
      const net = await lab.networks.create({ name: "apart", ipam: { driver: "default", options: {}, config: [{ subnet: "10.77.0.0/24" }] } });
      const inner = await lab.networks.create({ name: "inner", internal: true });
      expect(net.ipam.config).toEqual([{ subnet: "10.77.0.0/24", gateway: "10.77.0.1" }]);
      const a = await lab.container();
      const b = await lab.container({ network: "apart", settings: { IPAMConfig: { IPv4Address: "10.77.0.7" } } });
      const c = await lab.container({ network: "inner" });
      expect(b.endpoint.ipv4).toBe("10.77.0.7");
      expect(c.endpoint.gateway).toBeUndefined();
      using _b = await serve(b.path, "b", 80, 80);
      using _world = await serve(lab.outside, "world", 7, 7);
      expect(await ask(a.path, "tcp", "10.77.0.7", 80)).toBe("error timeout");
      expect(await ask(b.path, "tcp", "192.0.2.9", 7)).toBe("world 192.0.2.1");
      expect(await ask(c.path, "tcp", "192.0.2.9", 7)).toMatch(/^error E/);
      await run("nsenter", `--net=${c.path}`, "ip", "route", "add", "default", "via", inner.ipam.config[0]!.gateway!);
      expect(await ask(c.path, "tcp", "192.0.2.9", 7)).toBe("error timeout");
      await expect(lab.networks.remove("apart")).rejects.toThrow(/network apart has active endpoints/);
      lab.remove(a.id, b.id, c.id);
      await lab.networks.remove("apart");
      await lab.networks.remove(inner.id);
      // nobody waits for the kernel to take a bridge away, 7 to 40 ms; its subnet is free at once
      expect(await run("ip", "-br", "addr")).not.toContain(net.ipam.config[0]!.gateway!);
      await eventually(async () => !(await links()).includes(`br-${net.id.slice(0, 12)}`), "the removed network's bridge is gone");
      expect(() => lab.networks.resolve("apart")).toThrow("network apart not found");
    });

    test("icc=false keeps a network's containers apart but not from published ports", async () => {
      await lab.networks.create({ name: "alone", options: { "com.docker.network.bridge.enable_icc": "false" } });
      const a = await lab.container({ network: "alone" });
      const b = await lab.container({ network: "alone", portBindings: { "80/tcp": [{ HostPort: "8080" }] } });
      using _b = await serve(b.path, "b", 80, 80);
      expect(await ask(a.path, "tcp", b.endpoint.ipv4!, 80)).toMatch(/^error/);
      expect(await ask(a.path, "tcp", "192.0.2.1", 8080)).toStartWith("b ");
      lab.remove(a.id, b.id);
      await lab.networks.remove("alone");
    });

    test("a network with IPv6 carries both families", async () => {
      const net = await lab.networks.create({ name: "six", enableIPv6: true, ipam: { driver: "default", options: {}, config: [{ subnet: "fd00:77::/64" }] } });
      const a = await lab.container({ network: "six" });
      const b = await lab.container({ network: "six", portBindings: { "80/tcp": [{ HostPort: "8080" }] } });
      expect(b.endpoint.ipv6).toBe("fd00:77::3");
      using _b = await serve(b.path, "b", 80, 80, "::");
      expect(await ask(a.path, "tcp", "fd00:77::3", 80)).toBe(`b ${a.endpoint.ipv6}`);
      expect(await ask(undefined, "tcp", "::1", 8080)).toStartWith("b ");
      expect(await ask(undefined, "tcp", "fd00:77::1", 8080)).toStartWith("b ");
      lab.remove(a.id, b.id);
      await lab.networks.remove(net.id);
    });

    test("after a restart of the engine the living go on and all else is removed", async () => {
      const alive = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }] } });
      const dead = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8081" }] } });
      using _server = await serve(alive.path, "alive", 80, 80);
      await lab.networks.close({ containersLive: true });
      expect(await ask(lab.outside, "tcp", "192.0.2.1", 8080)).toBe("alive 192.0.2.9"); // while no engine runs

      await lab.resume([alive.id]);
      expect(await ask(lab.outside, "tcp", "192.0.2.1", 8080)).toBe("alive 192.0.2.9");
      expect(await ask(undefined, "tcp", "::1", 8080)).toStartWith("alive ");
      expect(lab.networks.endpointsOfContainer(alive.id)).toEqual([alive.endpoint]);
      expect(lab.networks.endpointsOfContainer(dead.id)).toEqual([]);
      expect(existsSync(dead.path)).toBe(false);
      await eventually(async () => !(await links()).includes(dead.endpoint.hostInterface), "the dead container's link is gone");
      const next = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8081" }] } });
      expect(next.endpoint.ipv4).toBe(dead.endpoint.ipv4);
      expect(() =>
        lab.networks.allocate({
          containerId: lab.newId(),
          containerName: "x",
          hostname: "x",
          network: "bridge",
          settings: {},
          portBindings: { "80/tcp": [{ HostPort: "8080" }] },
        }),
      ).toThrow("port is already allocated");
      lab.remove(alive.id, next.id);
    });

    test("a FORWARD policy of DROP doesn't cut containers off, and its rule goes with the engine", async () => {
      await lab.networks.close({ containersLive: false });
      await run("nft", "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority filter ; policy drop ; }");
      await lab.resume();
      const a = await lab.container();
      using _world = await serve(lab.outside, "world", 7, 7);
      expect(await ask(a.path, "tcp", "192.0.2.9", 7)).toBe("world 192.0.2.1");
      lab.remove(a.id);
      await lab.networks.close({ containersLive: false });
      expect(await run("nft", "list chain ip filter FORWARD")).not.toContain("mark");
      await run("nft", "delete table ip filter");
      await lab.resume();
    });

    test("rules that somebody flushed come back with the next change, for all that was there", async () => {
      const a = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }] } });
      await run("nft", "flush", "ruleset");
      const b = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8081" }] } });
      using _a = await serve(a.path, "a", 80, 80);
      using _b = await serve(b.path, "b", 80, 80);
      expect(await ask(lab.outside, "tcp", "192.0.2.1", 8080)).toBe("a 192.0.2.9");
      expect(await ask(lab.outside, "tcp", "192.0.2.1", 8081)).toBe("b 192.0.2.9");
      lab.remove(a.id, b.id);
    });

    test("a default bridge whose subnet somebody routes elsewhere moves, once no container is on it", async () => {
      await lab.networks.close({ containersLive: true });
      await run("ip", "route", "add", "172.17.3.0/24", "via", "192.0.2.9");
      await lab.resume();
      expect(lab.networks.resolve("bridge").ipam.config).toEqual([{ subnet: "172.18.0.0/16", gateway: "172.18.0.1" }]);
      expect(await run("ip", "-br", "addr", "show", "brabc123")).not.toContain("172.17.");
      await run("ip", "route", "delete", "172.17.3.0/24");
      const a = await lab.container();
      using _world = await serve(lab.outside, "world", 7, 7);
      expect(await ask(a.path, "tcp", "192.0.2.9", 7)).toBe("world 192.0.2.1");
      lab.remove(a.id);
    });

    test("without nftables published ports go through the proxy", async () => {
      await lab.restart([], { iptables: false });
      expect(await run("nft", "list", "tables")).not.toContain("berth");
      const a = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }], "80/udp": [{ HostPort: "8080" }] } });
      using _server = await serve(a.path, "a", 80, 80);
      for (const protocol of ["tcp", "udp"] as const) {
        expect(await ask(lab.outside, protocol, "192.0.2.1", 8080)).toBe(`a ${a.endpoint.gateway}`);
        expect(await ask(undefined, protocol, "127.0.0.1", 8080)).toBe(`a ${a.endpoint.gateway}`);
      }
      lab.remove(a.id);
      await lab.restart();
    });

    test("names and aliases resolve on user-defined networks, by udp and tcp, in both directions", async () => {
      await lab.networks.create({ name: "named", ipam: { driver: "default", options: {}, config: [{ subnet: "10.78.0.0/24" }] } });
      await lab.networks.create({ name: "elsewhere", ipam: { driver: "default", options: {}, config: [{ subnet: "10.79.0.0/24" }] } });
      const on = (network: string, containerName: string, aliases: string[] = []) => lab.container({ network, containerName, settings: { Aliases: aliases } });
      const a = await on("named", "a", ["web"]);
      const b = await on("named", "b", ["web"]);
      const c = await on("elsewhere", "c");
      expect(a.endpoint.dnsNames).toEqual(["a", "web", a.id.slice(0, 12)]);
      for (const protocol of ["udp", "tcp"] as const) {
        expect(await lookUp(a.path, protocol, "B")).toBe("code 0 0a4e0003");
        expect(await lookUp(b.path, protocol, "web")).toBe("code 0 0a4e0002 0a4e0003");
      }
      expect(await lookUp(b.path, "udp", "a.named")).toBe("code 0 0a4e0002");
      expect(await lookUp(b.path, "udp", "a", "AAAA")).toBe("code 0"); // known, without such an address: no question goes out
      expect(await lookUp(b.path, "udp", "a", "MX")).toBe("code 0");
      expect(await lookUp(b.path, "udp", "2.0.78.10.in-addr.arpa", "PTR")).toBe(`code 0 ${Buffer.from("\x01a\x05named\0").toString("hex")}`);
      expect(await run("nsenter", `--net=${b.path}`, "busybox", "nslookup", "a", "127.0.0.11")).toContain("10.78.0.2");
      using _server = await serve(a.path, "a", 53, 53); // port 53 of 0.0.0.0 stays the container's own
      expect(await ask(b.path, "tcp", "10.78.0.2", 53)).toStartWith("a ");

      lab.remove(b.id);
      expect(await lookUp(a.path, "udp", "web")).toBe("code 0 0a4e0002");
      expect(lab.strayThreads()).toEqual([]);
      lab.remove(a.id, c.id);
      await lab.networks.remove("named");
      await lab.networks.remove("elsewhere");
    });

    test("other names go to the container's servers; an internal network forwards nothing; a restart keeps the resolver's ports", async () => {
      await lab.networks.create({ name: "outward" });
      await lab.networks.create({ name: "inward", internal: true });
      using _names = await serveNames(lab.outside, "192.0.2.9");
      const dns = ["192.0.2.200", "192.0.2.9"]; // the first says nothing
      const a = await lab.container({ network: "outward", containerName: "a", dns });
      const b = await lab.container({ network: "inward", containerName: "b", dns });
      const check = async (): Promise<void> => {
        expect(await lookUp(a.path, "udp", "www.example.test")).toBe("code 0 cb007107");
        // by UDP the server truncates it: it is asked by TCP
        expect(await lookUp(a.path, "udp", "big.test")).toBe("code 0 cb007107");
        expect(await lookUp(a.path, "tcp", "bigger.test")).toBe("code 0 cb007107");
        expect(await lookUp(a.path, "udp", "nobody.example")).toBe("code 3");
        expect(await lookUp(b.path, "udp", "www.example.test")).toBe("code 2");
        expect(await lookUp(b.path, "udp", "b")).toStartWith("code 0 ");
      };
      await check();
      await lab.restart([a.id, b.id]);
      await check();
      lab.remove(a.id, b.id);
      await lab.networks.remove("outward");
      await lab.networks.remove("inward");
    });

    test("a container that ends between its being found running and the rest of the start leaves nothing", async () => {
      await lab.networks.create({ name: "brief" });
      const a = await lab.container({ network: "brief", containerName: "a" });
      await lab.networks.close({ containersLive: true });
      lab.networks = lab.start();
      lab.remove(a.id);
      await lab.networks.restore(new Set([a.id]));
      expect(lab.store.db.query("SELECT container FROM resolvers").all()).toEqual([]);
      await lab.networks.remove("brief");
    });

    test("a running container joins and leaves networks", async () => {
      const net = await lab.networks.create({ name: "joined" });
      const a = await lab.container({ containerName: "a" });
      const b = await lab.container({ network: "joined", containerName: "b" });
      using _b = await serve(b.path, "b", 80, 80);
      const options = { containerId: a.id, containerName: "a", hostname: "a", network: "joined", settings: { Aliases: ["late"] }, portBindings: {} };
      const endpoint = await lab.networks.connect(options);
      expect(endpoint.containerInterface).toBe("eth1");
      expect(await ask(a.path, "tcp", b.endpoint.ipv4!, 80)).toBe(`b ${endpoint.ipv4}`);
      expect(await lookUp(b.path, "udp", "late")).toStartWith("code 0 ");
      expect(await lookUp(a.path, "udp", "b")).toStartWith("code 0 ");
      expect(await outcome(lab.networks.connect(options))).toThrow("endpoint with name a already exists in network joined");

      await lab.networks.disconnect(a.id, "bridge");
      expect(await run("nsenter", `--net=${a.path}`, "ip", "-br", "link")).not.toContain("eth0");
      using _world = await serve(lab.outside, "world", 7, 7);
      expect(await ask(a.path, "tcp", "192.0.2.9", 7)).toBe("world 192.0.2.1"); // the default route moved
      await lab.networks.disconnect(a.id, net.id);
      await expect(lab.networks.disconnect(a.id, "joined")).rejects.toThrow("is not connected to network joined");
      expect(await ask(a.path, "tcp", b.endpoint.ipv4!, 80)).toMatch(/^error E/);
      lab.remove(a.id, b.id);
      await lab.networks.remove("joined");
    });

    test("a bridge of ours whose network was never written down goes at the next start", async () => {
      const net = await lab.networks.create({ name: "unwritten" });
      const name = `br-${net.id.slice(0, 12)}`;
      expect(await run("ip", "link", "show", name)).toContain("alias berth abc123 bridge");
      lab.store.db.query("DELETE FROM networks WHERE id = ?").run(net.id);
      await lab.networks.close({ containersLive: true });
      await run("nft", "flush", "ruleset"); // no witness but the alias
      await lab.resume();
      await eventually(async () => !(await links()).includes(name), "the bridge is gone");
    });

    test("events tell of networks and endpoints", async () => {
      lab.events.length = 0;
      const net = await lab.networks.create({ name: "seen" });
      const a = await lab.container({ network: "seen" });
      lab.remove(a.id);
      await lab.networks.remove("seen");
      const told = lab.events.map((event) => [
        event.action,
        event.actor === net.id,
        event.attributes["name"],
        event.attributes["type"],
        event.attributes["container"],
      ]);
      expect(told).toEqual([
        ["create", true, "seen", "bridge", undefined],
        ["connect", true, "seen", "bridge", a.id],
        ["disconnect", true, "seen", "bridge", a.id],
        ["destroy", true, "seen", "bridge", undefined],
      ]);
    });

    test("others have their turn while networks are pruned", async () => {
      const names = ["pruned-1", "pruned-2", "pruned-3", "pruned-4"];
      for (const name of names) await lab.networks.create({ name, internal: true });
      using rounds = countRounds();
      const seen: number[] = [];
      const pruned = await lab.networks.prune(({ name }) => {
        Bun.sleepSync(3);
        if (names.includes(name)) seen.push(rounds.count);
        return !names.includes(name);
      });
      expect(pruned).toEqual(names);
      expect(new Set(seen).size).toBe(names.length);
    });

    test("nothing is left: links, namespaces, rules, threads", async () => {
      const fds = (): number => readdirSync("/proc/self/fd").length;
      await lab.networks.create({ name: "leak" });
      const cycle = async (): Promise<void> => {
        const a = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }], "80/udp": [{}] } });
        await ask(undefined, "tcp", "::1", 8080);
        const b = await lab.container({ network: "leak", containerName: "b" });
        await lookUp(b.path, "tcp", "b");
        lab.remove(a.id, b.id);
      };
      await cycle();
      await Bun.sleep(500); // until namespaces are made ahead again, which are files, too
      const before = fds();
      for (let i = 0; i < 3; i++) await cycle();
      await eventually(() => fds() <= before, "file descriptors are closed");
      expect(lab.strayThreads()).toEqual([]);
      expect(readdirSync(`${lab.root}/netns`)).toEqual([]);
      await lab.networks.close({ containersLive: false });
      await eventually(async () => (await links()).toSorted().join(" ") === "lo world", "only the test's own links are left");
      expect(await run("nft", "list", "ruleset")).toBe(rulesBefore);
    });
  });
}
