import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { closeFd } from "../../src/kernel/fs.ts";
import { bindSocket } from "../../src/kernel/socket.ts";
import { createSocketFilters } from "../../src/kernel/socket-filter.ts";
import { skips } from "../skips.ts";
import { ask, eventually, Lab, lookUp, run, serve } from "./network-lab.ts";
import { outcome } from "../outcome.ts";
import { inOwnNamespace } from "./own-namespace.ts";

if (!skips.root.missing()) {
  inOwnNamespace(import.meta.path, "published ports in the kernel", () => {
    let lab: Lab;

    beforeAll(async () => {
      lab = await Lab.open();
    });
    afterEach(() => lab.removeAll());
    afterAll(() => lab[Symbol.asyncDispose]());

    const elements = async (): Promise<number> => {
      const listing = await Promise.all(["p4", "p4a", "p6", "p6a"].map((map) => run("nft", "list", "map", "inet", "berth_abc123", map)));
      return listing.join("\n").match(/ : \d/g)?.length ?? 0;
    };

    test("a deaf socket hears nothing, one for IPv6 hears that alone", async () => {
      const filters = createSocketFilters();
      const any = new Uint8Array(16);
      const sockets = [bindSocket("tcp", any, 7001, { bothFamilies: true }), bindSocket("tcp", any, 7002, { bothFamilies: true })];
      filters.restrict(sockets[0]!, "nothing");
      filters.restrict(sockets[1]!, "ipv6");
      const connects = (hostname: string, port: number): Promise<boolean> =>
        Bun.connect({ hostname, port, socket: { data() {} } }).then(
          (socket) => {
            socket.end();
            return true;
          },
          () => false,
        );
      try {
        let heard = 0;
        // what a socket is deaf to is never answered
        for (const [host, port] of [
          ["127.0.0.1", 7001],
          ["::1", 7001],
          ["127.0.0.1", 7002],
        ] as const)
          void connects(host, port).then((yes) => (heard += Number(yes)));
        expect(await connects("::1", 7002)).toBe(true);
        await Bun.sleep(300);
        expect(heard).toBe(0);
      } finally {
        for (const fd of sockets) closeFd(fd);
        filters[Symbol.dispose]();
      }
    });

    test("thousands of ports are published, held and given back", async () => {
      const count = 3000;
      const portBindings = Object.fromEntries(Array.from({ length: count }, (_, i) => [`${1000 + i}/tcp`, [{ HostPort: String(20000 + i) }]]));
      portBindings["5300/sctp"] = [{ HostPort: "5300" }];
      const a = await lab.container({ portBindings });
      expect(a.endpoint.ports).toHaveLength(2 * count + 1);
      expect(await elements()).toBe(count + 1); // the container has no IPv6
      const b = await lab.container();
      using _first = await serve(a.path, "first", 1000, 1);
      using _last = await serve(a.path, "last", 1000 + count - 1, 2);
      expect(await ask(lab.outside, "tcp", "192.0.2.1", 20000)).toBe("first 192.0.2.9");
      expect(await ask(b.path, "tcp", "192.0.2.1", 20000 + count - 1)).toStartWith("last ");
      expect(await ask(undefined, "tcp", "::1", 20000 + count - 1)).toStartWith("last ");
      await lab.remove(a.id, b.id);
      expect(await elements()).toBe(0);
    });

    test("more ports than the engine may have files are refused, and nothing is taken", async () => {
      const portBindings = Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [`${1000 + i}/tcp`, [{ HostPort: String(2000 + i) }]]));
      const limit = Number((await run("sh", "-c", "ulimit -Hn")).replace("unlimited", "0"));
      if (limit === 0 || limit > 70_000) return;
      expect(await outcome(lab.container({ portBindings }))).toThrow(/publishing 60000 more ports failed: 0 are held already.*LimitNOFILE/);
      expect(lab.networks.endpointsOf(lab.networks.resolve("bridge").id)).toEqual([]);
    });

    test("a clash is told at once, whichever address and family it is in", async () => {
      const a = await lab.container({
        portBindings: { "80/tcp": [{ HostPort: "8080" }], "80/udp": [{ HostIp: "127.0.0.1", HostPort: "8080" }], "9/sctp": [{ HostPort: "9" }] },
      });
      const refusal = async (key: string, HostIp: string, HostPort = "8080"): Promise<string> => {
        const id = lab.newId();
        await lab.networks.createNamespace(id);
        try {
          lab.networks.allocate({
            containerId: id,
            containerName: "b",
            hostname: "b",
            network: "bridge",
            settings: {},
            portBindings: { [key]: [{ HostIp, HostPort }] },
          });
          return "taken";
        } catch (error) {
          return (error as Error).message.replace(/^.*\): /, "");
        } finally {
          lab.remove(id);
        }
      };
      const allocated = (where: string): string => `Bind for ${where} failed: port is already allocated`;
      expect(await refusal("81/tcp", "")).toBe(allocated("0.0.0.0:8080"));
      expect(await refusal("81/tcp", "192.0.2.1")).toBe(allocated("192.0.2.1:8080"));
      expect(await refusal("81/tcp", "::")).toBe(allocated("[::]:8080"));
      expect(await refusal("81/tcp", "::1")).toBe(allocated("[::1]:8080"));
      expect(await refusal("81/udp", "")).toBe(allocated("0.0.0.0:8080"));
      expect(await refusal("81/udp", "192.0.2.1")).toBe("taken");
      expect(await refusal("81/udp", "::")).toBe("taken");
      expect(await refusal("9/sctp", "127.0.0.1", "9")).toBe(allocated("127.0.0.1:9"));
      expect(await refusal("81/sctp", "")).toBe("taken");
      {
        using _v4 = await serve(undefined, "host", 8090, 8091);
        using _v6 = await serve(undefined, "host", 8092, 8093, "::1");
        const inUse = (where: string): string => `failed to bind host port ${where}: address already in use`;
        expect(await refusal("80/tcp", "", "8090")).toBe(inUse("0.0.0.0:8090/tcp"));
        expect(await refusal("80/tcp", "127.0.0.1", "8090")).toBe(inUse("127.0.0.1:8090/tcp"));
        expect(await refusal("80/tcp", "::", "8090")).toBe("taken");
        expect(await refusal("80/udp", "", "8091")).toBe(inUse("0.0.0.0:8091/udp"));
        expect(await refusal("80/tcp", "", "8092")).toBe(inUse("[::]:8092/tcp"));
        expect(await refusal("80/tcp", "0.0.0.0", "8092")).toBe("taken");
      }
      // and host processes find it taken
      expect(() => Bun.listen({ hostname: "192.0.2.1", port: 8080, socket: { data() {} } })).toThrow();
      expect(() => Bun.listen({ hostname: "::1", port: 8080, socket: { data() {} } })).toThrow();
      lab.remove(a.id);
    });

    test("a host process that took a stopped container's port is told of at its start", async () => {
      const portBindings = { "80/tcp": [{ HostPort: "8080" }] };
      const a = await lab.container({ portBindings });
      lab.remove(a.id);
      {
        using _server = await serve(undefined, "host", 8080, 8080);
        expect(await outcome(lab.container({ containerId: a.id, portBindings }))).toThrow("failed to bind host port 0.0.0.0:8080/tcp: address already in use");
      }
      lab.remove(a.id);
      await eventually(async () => (await ask(undefined, "tcp", "127.0.0.1", 8080)) === "error ECONNREFUSED", "the host's process is gone");
      const again = await lab.container({ containerId: a.id, portBindings });
      lab.remove(again.id);
    });

    test("free ports leave out what the administrator reserved", async () => {
      await run("sh", "-c", "echo 40000 40003 >/proc/sys/net/ipv4/ip_local_port_range; echo 40001,40002-40002 >/proc/sys/net/ipv4/ip_local_reserved_ports");
      await lab.restart();
      const a = await lab.container({ portBindings: { "80/tcp": [{}], "81/tcp": [{}] } });
      expect(new Set(a.endpoint.ports.map((port) => port.hostPort))).toEqual(new Set([40000, 40003]));
      expect(await outcome(lab.container({ portBindings: { "80/tcp": [{}] } }))).toThrow("all ports are allocated");
      const b = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "40001" }] } });
      lab.remove(a.id, b.id);
      await run("sh", "-c", "echo >/proc/sys/net/ipv4/ip_local_reserved_ports; echo 32768 60999 >/proc/sys/net/ipv4/ip_local_port_range");
      await lab.restart();
    });

    test("publishing a UDP port forgets flows to that port of the host, and no others", async () => {
      const client = await lab.container();
      using _world = await serve(lab.outside, "world", 53, 53);
      using _host = await serve(undefined, "host", 54, 54);
      expect(await ask(client.path, "udp", "192.0.2.9", 53, 5001)).toBe("world 192.0.2.1");
      expect(await ask(lab.outside, "udp", "192.0.2.1", 55, 5002)).toMatch(/^error/);
      const flows = async (port: number): Promise<number> => Number(await run("sh", "-c", `grep -c 'udp .*dport=${port} ' /proc/net/nf_conntrack || true`));
      expect(await flows(53)).toBe(1);
      const a = await lab.container({ portBindings: { "53/udp": [{ HostPort: "53" }], "55/udp": [{ HostPort: "55" }] } });
      await eventually(async () => (await flows(55)) === 0, "the flow to the host's port is forgotten");
      expect(await flows(53)).toBe(1);
      lab.remove(a.id, client.id);
    });

    const shown = (id: string): string[] =>
      lab.networks
        .endpointsOfContainer(id)
        .flatMap(({ ports }) => ports)
        .filter(({ hostIp }) => hostIp === "0.0.0.0")
        .map(({ hostPort, containerPort, proto }) => `${hostPort}->${containerPort}/${proto}`);
    const onPort = (id: string, hostPort: number) =>
      lab.networks.endpointsOfContainer(id).flatMap(({ ports }) => ports.filter((port) => port.hostPort === hostPort));

    test("ports come and go while the container runs, and outlive the engine", async () => {
      const a = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }], "81/udp": [{ HostPort: "8080" }] } });
      using _a = await serve(a.path, "a", 80, 81);
      using _other = await serve(a.path, "other", 90, 91);
      expect(await ask(lab.outside, "udp", "192.0.2.1", 8080, 5010)).toBe("a 192.0.2.9");
      // 8080 leads to another port of the container, and a new one to the old
      using change = (await lab.networks.changePorts(a.id, {
        remove: onPort(a.id, 8080),
        add: { "90/tcp": [{ HostPort: "8080" }], "80/tcp": [{ HostPort: "8081" }], "91/udp": [{ HostPort: "8080" }] },
      }))!;
      expect(await ask(lab.outside, "tcp", "192.0.2.1", 8080)).toBe("a 192.0.2.9"); // not yet
      let written = 0;
      change.commit(() => written++);
      expect(written).toBe(1);
      expect(shown(a.id)).toEqual(["8081->80/tcp", "8080->90/tcp", "8080->91/udp"]);
      expect(await ask(lab.outside, "tcp", "192.0.2.1", 8080)).toBe("other 192.0.2.9");
      expect(await ask(undefined, "tcp", "::1", 8080)).toStartWith("other ");
      expect(await ask(lab.outside, "tcp", "192.0.2.1", 8081)).toBe("a 192.0.2.9");
      await eventually(async () => (await ask(lab.outside, "udp", "192.0.2.1", 8080, 5010)) === "other 192.0.2.9", "the client's old flow is forgotten");

      await lab.restart([a.id]);
      expect(shown(a.id)).toEqual(["8081->80/tcp", "8080->90/tcp", "8080->91/udp"]);
      expect(await ask(undefined, "tcp", "::1", 8080)).toStartWith("other ");
      expect(await outcome(lab.container({ portBindings: { "80/tcp": [{ HostPort: "8081" }] } }))).toThrow("port is already allocated");
      lab.remove(a.id);
      expect(await elements()).toBe(0);
    });

    test("hundreds of ports come and go in turns", async () => {
      const portBindings = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`${1000 + i}/tcp`, [{ HostPort: String(20_000 + i) }]]));
      const a = await lab.container({ portBindings });
      using _a = await serve(a.path, "a", 1299, 81);
      expect(await elements()).toBe(300);
      expect(await ask(lab.outside, "tcp", "192.0.2.1", 20_299)).toBe("a 192.0.2.9");
      expect(await outcome(lab.container({ portBindings: { ...portBindings, "1/tcp": [{ HostPort: "30000" }] } }))).toThrow("port is already allocated");
      Bun.listen({ hostname: "0.0.0.0", port: 30_000, socket: { data() {} } }).stop(true);
      await lab.networks.release(a.id);
      expect(await elements()).toBe(0);
      for (const port of [20_000, 20_299]) Bun.listen({ hostname: "0.0.0.0", port, socket: { data() {} } }).stop(true);
      lab.remove(a.id);
    });

    test("a change that fails, or that nobody commits, has never been", async () => {
      const a = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }], "82/tcp": [{ HostPort: "8082" }] } });
      const b = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8081" }] } });
      using _a = await serve(a.path, "a", 80, 81);
      const asBefore = async (): Promise<void> => {
        expect(shown(a.id)).toEqual(["8080->80/tcp", "8082->82/tcp"]);
        expect(await ask(lab.outside, "tcp", "192.0.2.1", 8080)).toBe("a 192.0.2.9");
        expect(await ask(undefined, "tcp", "::1", 8080)).toStartWith("a ");
        expect(() => Bun.listen({ hostname: "0.0.0.0", port: 8080, socket: { data() {} } })).toThrow();
        Bun.listen({ hostname: "0.0.0.0", port: 9000, socket: { data() {} } }).stop(true);
      };
      const remove = onPort(a.id, 8080);
      const add = { "80/tcp": [{ HostPort: "9000" }], "81/tcp": [{ HostPort: "8081" }] };
      await expect(lab.networks.changePorts(a.id, { remove, add })).rejects.toThrow("Bind for 0.0.0.0:8081 failed: port is already allocated");
      await asBefore();
      {
        using _change = await lab.networks.changePorts(a.id, { remove, add: { "80/tcp": [{ HostPort: "9000" }] } });
      }
      await asBefore();
      {
        using change = (await lab.networks.changePorts(a.id, { remove, add: { "80/tcp": [{ HostPort: "9000" }] } }))!;
        const fail = (): void => {
          throw new Error("no room");
        };
        expect(() => change.commit(fail)).toThrow("no room");
      }
      await asBefore();
      // one that ended in between
      using change = (await lab.networks.changePorts(a.id, { remove, add: { "80/tcp": [{ HostPort: "9000" }] } }))!;
      lab.remove(a.id);
      expect(await elements()).toBe(1);
      let written = 0;
      change.commit(() => written++);
      expect(written).toBe(1);
      lab.remove(b.id);
      expect(await elements()).toBe(0);
      for (const port of [8080, 8082, 9000]) Bun.listen({ hostname: "0.0.0.0", port, socket: { data() {} } }).stop(true);
    });

    test("ports go with the default route, and never into an internal network", async () => {
      await lab.networks.create({ name: "second" });
      await lab.networks.create({ name: "third" });
      await lab.networks.create({ name: "inner", internal: true });
      const portBindings = { "80/tcp": [{ HostPort: "8080" }] };
      const a = await lab.container({ portBindings });
      using _a = await serve(a.path, "a", 80, 81);
      const options = { containerId: a.id, containerName: "a", hostname: "a", settings: {}, portBindings: {} };
      const publishers = (): string[] =>
        lab.networks
          .endpointsOfContainer(a.id)
          .filter(({ ports }) => ports.length > 0)
          .map(({ networkName }) => networkName);
      await lab.networks.connect({ ...options, network: "second" });
      expect(publishers()).toEqual(["bridge"]);
      await lab.networks.connect({ ...options, network: "third", settings: { GwPriority: 1 } });
      expect(publishers()).toEqual(["third"]);
      expect(await ask(lab.outside, "tcp", "192.0.2.1", 8080)).toBe("a 192.0.2.9");
      await lab.networks.disconnect(a.id, "third");
      expect(publishers()).toEqual(["bridge"]);
      await lab.networks.disconnect(a.id, "bridge");
      expect(publishers()).toEqual(["second"]);
      expect(await ask(lab.outside, "tcp", "192.0.2.1", 8080)).toBe("a 192.0.2.9");
      expect(await ask(undefined, "tcp", "::1", 8080)).toStartWith("a ");
      await lab.networks.connect({ ...options, network: "inner", portBindings });
      await lab.networks.disconnect(a.id, "second");
      expect(publishers()).toEqual([]);
      expect(await elements()).toBe(0);
      await lab.networks.connect({ ...options, network: "second", portBindings });
      expect(await ask(lab.outside, "tcp", "192.0.2.1", 8080)).toBe("a 192.0.2.9");
      lab.remove(a.id);
      for (const name of ["second", "third", "inner"]) await lab.networks.remove(name);
    });

    test("an sctp port has a rule in each family that the container has, and can't be had in another", async () => {
      const a = await lab.container({ portBindings: { "5000/sctp": [{ HostPort: "5000" }] } });
      expect(a.endpoint.ports).toEqual([{ proto: "sctp", containerPort: 5000, hostIp: "0.0.0.0", hostPort: 5000 }]);
      expect(await run("nft", "list", "map", "inet", "berth_abc123", "p4")).toContain(`sctp . 5000 : ${a.endpoint.ipv4} . 5000`);
      expect(await outcome(lab.container({ portBindings: { "5001/sctp": [{ HostIp: "::1", HostPort: "5001" }] } }))).toThrow(
        "publishing 5001/sctp on [::1] failed: the container has no address of that family",
      );
      lab.remove(a.id);
    });

    /** The engine with other settings, for one test. */
    async function withSettings(settings: Parameters<Lab["start"]>[0], body: () => Promise<void>): Promise<void> {
      await lab.restart([], settings);
      await body().finally(async () => {
        lab.removeAll();
        await lab.restart();
      });
    }
    const listed = (ports: readonly { hostIp: string; hostPort: number }[]): string[] => ports.map(({ hostIp, hostPort }) => `${hostIp}:${hostPort}`);

    test("--ip is the address where none is asked for; a network has its own", async () => {
      await withSettings({ ip: "127.0.0.1" }, async () => {
        await lab.networks.create({ name: "bound", options: { "com.docker.network.bridge.host_binding_ipv4": "192.0.2.1" } });
        const a = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }, { HostIp: "0.0.0.0", HostPort: "8081" }] } });
        const b = await lab.container({ network: "bound", portBindings: { "80/tcp": [{ HostPort: "8080" }] } });
        expect(listed(a.endpoint.ports)).toEqual(["127.0.0.1:8080", "0.0.0.0:8081"]);
        expect(listed(b.endpoint.ports)).toEqual(["192.0.2.1:8080"]);
        using _a = await serve(a.path, "a", 80, 81);
        using _b = await serve(b.path, "b", 80, 81);
        expect(await ask(lab.outside, "tcp", "192.0.2.1", 8080)).toBe("b 192.0.2.9");
        expect(await ask(undefined, "tcp", "127.0.0.1", 8080)).toStartWith("a ");
        expect(await ask(lab.outside, "tcp", "192.0.2.1", 8081)).toBe("a 192.0.2.9");
        lab.remove(a.id, b.id);
        await lab.networks.remove("bound");
      });
      await withSettings({ ip: "::1" }, async () => {
        const a = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }] } });
        expect(listed(a.endpoint.ports)).toEqual(["::1:8080"]);
      });
    });

    test("--userland-proxy=false: rules serve what they can, and nothing else is listed", async () => {
      await withSettings({ userlandProxy: false }, async () => {
        const a = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }], "81/tcp": [{ HostIp: "::1", HostPort: "8081" }] } });
        expect(listed(a.endpoint.ports)).toEqual(["0.0.0.0:8080"]);
        using _a = await serve(a.path, "a", 80, 81);
        expect(await ask(undefined, "tcp", "127.0.0.1", 8080)).toStartWith("a ");
        expect(await ask(lab.outside, "tcp", "192.0.2.1", 8080)).toBe("a 192.0.2.9");
        expect(await ask(a.path, "tcp", "192.0.2.1", 8080)).toStartWith("a ");
        expect(await ask(undefined, "tcp", "::1", 8080)).toBe("error ECONNREFUSED");
      });
    });

    test("--ip6tables=false: no rule of ours sees IPv6; its ports go through the proxy", async () => {
      await run("ip", "addr", "add", "2001:db8::1/64", "dev", "world", "nodad");
      await run("nsenter", `--net=${lab.outside}`, "ip", "addr", "add", "2001:db8::9/64", "dev", "eth0", "nodad");
      const network = { name: "six", enableIPv6: true, ipam: { driver: "default", options: {}, config: [{ subnet: "fd00:77::/64" }] } };
      const seen = async (): Promise<string> => {
        await lab.networks.create(network);
        const a = await lab.container({ network: "six", portBindings: { "80/tcp": [{ HostPort: "8080" }] } });
        using _a = await serve(a.path, "a", 80, 81, "::");
        const answer = await ask(lab.outside, "tcp", "2001:db8::1", 8080);
        lab.remove(a.id);
        await lab.networks.remove("six");
        return answer;
      };
      expect(await seen()).toBe("a 2001:db8::9");
      await withSettings({ ip6tables: false }, async () => {
        expect(await seen()).toBe("a fd00:77::1");
      });
    });

    test("--iptables=false: every port goes through the proxy", async () => {
      await withSettings({ iptables: false }, async () => {
        const a = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }], "81/udp": [{ HostPort: "8081" }] } });
        using _a = await serve(a.path, "a", 80, 81);
        for (const host of ["127.0.0.1", "192.0.2.1", "::1"]) expect(await ask(undefined, "tcp", host, 8080)).toBe("a 172.17.0.1");
        expect(await ask(lab.outside, "tcp", "192.0.2.1", 8080)).toBe("a 172.17.0.1");
        expect(await ask(lab.outside, "udp", "192.0.2.1", 8081)).toBe("a 172.17.0.1");
        expect(await run("nft", "list", "tables")).not.toContain("berth_");
      });
    });

    test("a container with the engine's DNS tracks no connections, and hears at once when nobody answers", async () => {
      await lab.networks.create({ name: "named" });
      const a = await lab.container({ network: "named", containerName: "a" });
      const b = await lab.container({ network: "named", containerName: "b" });
      using _b = await serve(b.path, "b", 80, 80);
      for (const protocol of ["udp", "tcp"] as const) {
        expect(await lookUp(a.path, protocol, "b")).toStartWith("code 0 ");
        expect(await ask(a.path, protocol, b.endpoint.ipv4!, 80)).toBe(`b ${a.endpoint.ipv4}`);
      }
      expect(await run("nsenter", `--net=${a.path}`, "cat", "/proc/sys/net/netfilter/nf_conntrack_count")).toBe("0");
      await lab.networks.close({ containersLive: true });
      for (const protocol of ["udp", "tcp"] as const) expect(await ask(a.path, protocol, "127.0.0.11", 53)).toBe("error ECONNREFUSED");
      await lab.resume([a.id, b.id]);
      expect(await lookUp(a.path, "udp", "b")).toStartWith("code 0 ");
      lab.remove(a.id, b.id);
      await lab.networks.remove("named");
    });

    test("where IPv6 is switched off ports are published by IPv4 alone", async () => {
      await run("sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6");
      await withSettings({}, async () => {
        const a = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }] } });
        expect(listed(a.endpoint.ports)).toEqual(["0.0.0.0:8080"]);
        using _a = await serve(a.path, "a", 80, 81);
        expect(await ask(lab.outside, "tcp", "192.0.2.1", 8080)).toBe("a 192.0.2.9");
        await run("sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6");
      });
    });
  });
}
