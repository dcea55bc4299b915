import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { compareRules } from "../../src/networks/compare-rules.ts";
import type { NetworkProblem } from "../../src/networks/check/types.ts";
import { skipped, skips } from "../skips.ts";
import { ask, type Container, eventually, Lab, run, serve, serveNames } from "./network-lab.ts";
import { inOwnNamespace } from "./own-namespace.ts";

if (!skips.root.missing()) {
  inOwnNamespace(import.meta.path, "a check of networks", () => {
    let lab: Lab;
    let names: Disposable;
    const nft = (command: string): Promise<string> => run("nft", command);
    const check = async (repair = false, atRest: ReadonlySet<string> = new Set()): Promise<NetworkProblem[]> =>
      (await lab.networks.check({ repair, atRest })).problems;
    const sentences = async (repair = false): Promise<string[]> => (await check(repair)).map(({ problem }) => problem);

    beforeAll(async () => {
      lab = await Lab.open({ dns: ["192.0.2.9"] });
      names = await serveNames(lab.outside, "192.0.2.9");
    });
    afterEach(() => lab.removeAll());
    afterAll(async () => {
      names[Symbol.dispose]();
      await lab[Symbol.asyncDispose]();
    });

    const published = (): Promise<Container> => lab.container({ containerName: "web", portBindings: { "80/tcp": [{ HostPort: "8080" }] } });

    /** `damage` is found in these words, mended by the check, and the container is reached as before. */
    async function mends(damage: (a: Container) => Promise<unknown>, said: RegExp, network = "bridge"): Promise<void> {
      const a = await lab.container({ containerName: "web", network, portBindings: { "80/tcp": [{ HostPort: "8080" }] } });
      const b = await lab.container({ containerName: "peer", network });
      using _a = await serve(a.path, "a", 80, 80);
      expect(await check()).toEqual([]);
      await damage(a);
      const found = await check();
      expect(found.map(({ problem }) => problem).join("\n")).toMatch(said);
      expect(found[0]!.next).toContain("berth network check --repair");
      const repaired = await check(true);
      expect(repaired.filter((problem) => problem.repaired === undefined)).toEqual([]);
      expect(await check()).toEqual([]);
      await eventually(async () => (await ask(lab.outside, "tcp", "192.0.2.1", 8080)) === "a 192.0.2.9", "the published port answers");
      expect(await ask(b.path, "tcp", a.endpoint.ipv4!, 80)).toBe(`a ${b.endpoint.ipv4}`);
      using _world = await serve(lab.outside, "world", 7, 7);
      expect(await ask(a.path, "tcp", "192.0.2.9", 7)).toBe("world 192.0.2.1");
      lab.removeAll();
    }
    const ip = (...args: string[]): Promise<string> => run("ip", ...args);

    test("says so where all is well, with what it looked at", async () => {
      await published();
      expect(await lab.networks.check({ repair: false, atRest: new Set() })).toEqual({ checked: { networks: 3, containers: 1, ports: 1 }, problems: [] });
    });

    test("firewalld's rules without firewalld on the message bus", async () => {
      await nft("add table inet firewalld");
      const [problem] = await check();
      expect(problem).toMatchObject({ level: "hint", next: "firewall-cmd --permanent --zone=trusted --add-interface=brabc123 && firewall-cmd --reload" });
      await nft("delete table inet firewalld");
    });

    test("a bridge that somebody deleted, while containers run", () =>
      mends(() => ip("link", "delete", "brabc123"), /^bridge brabc123 of network bridge is gone: its containers reach nobody/));
    test("one taken down", () => mends(() => ip("link", "set", "brabc123", "down"), /^bridge brabc123 of network bridge is down/));
    test("one that lost its address", () =>
      mends(() => ip("addr", "flush", "dev", "brabc123"), /^bridge brabc123 of network bridge has lost its address 172.17.0.1: containers have no gateway/));
    test("a bridge with settings that somebody reset", () =>
      mends(() => run("sysctl", "-qw", "net.ipv4.conf.brabc123.forwarding=0"), /net.ipv4.conf.brabc123.forwarding is 0: its containers reach nothing outside/));
    test("a container's link that somebody deleted", () =>
      mends(({ endpoint }) => ip("link", "delete", endpoint.hostInterface), /^container web has lost its link to network bridge/));
    test("one that got another name", async () => {
      await mends(({ endpoint }) => ip("link", "set", endpoint.hostInterface, "name", "renamed"), /^container web has lost its link .* or has another name/);
      expect(await ip("-br", "link")).not.toContain("renamed");
    });
    test("one taken off its bridge", () =>
      mends(
        ({ endpoint }) => ip("link", "set", endpoint.hostInterface, "nomaster"),
        /^the link of container web to network bridge \(veth\w+\) is no port of its bridge brabc123/,
      ));
    test("one taken down", () => mends(({ endpoint }) => ip("link", "set", endpoint.hostInterface, "down"), /^the link of container web .* is down/));
    test("a container's address that is gone", () =>
      mends(
        ({ path }) => run("nsenter", `--net=${path}`, "ip", "addr", "flush", "dev", "eth0"),
        /^interface eth0 of container web \(network bridge\) has lost its address 172.17.0.2/,
      ));
    test("a network of the user's, whose containers keep from each other after the bridge came back", async () => {
      const net = await lab.networks.create({ name: "apart", options: { "com.docker.network.bridge.enable_icc": "false" } });
      const [a, b] = [await lab.container({ network: "apart" }), await lab.container({ network: "apart" })];
      using _b = await serve(b.path, "b", 80, 80);
      await ip("link", "delete", `br-${net.id.slice(0, 12)}`);
      await check(true);
      expect(await check()).toEqual([]);
      expect(await ask(a.path, "tcp", b.endpoint.ipv4!, 80)).toMatch(/^error/);
      lab.removeAll();
      await lab.networks.remove("apart");
    });

    test.skipIf(skipped("bridgeNetfilter"))(
      "containers that are kept apart, when bridged packets cease to pass the firewall; and a link, which opens a port all the same",
      async () => {
        const filtered = (value: 0 | 1): Promise<string> => run("sysctl", "-qw", `net.bridge.bridge-nf-call-iptables=${value}`);
        await lab.restart([], { icc: false });
        const [a, b] = [await lab.container(), await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }] } })];
        using _b = await serve(b.path, "b", 80, 80);
        const reached = async (): Promise<boolean[]> =>
          await Promise.all([
            ask(a.path, "tcp", b.endpoint.ipv4!, 80).then((answer) => answer.startsWith("b ")),
            ask(a.path, "tcp", "192.0.2.1", 8080).then((answer) => answer.startsWith("b ")),
          ]);
        const link = { from: a.id, to: b.id, ports: [{ proto: "tcp", port: 80 }] } as const;
        try {
          for (const [value, problem] of [
            [0, "bridged packets don't pass the firewall any more (net.bridge.bridge-nf-call-iptables): containers of network bridge, which are"],
            [1, "bridged packets pass the firewall now (net.bridge.bridge-nf-call-iptables): containers of network bridge don't reach"],
          ] as const) {
            await filtered(value);
            expect(await check()).toEqual([expect.objectContaining({ problem: expect.stringContaining(problem) })]);
            expect(await check(true)).toEqual([expect.objectContaining({ repaired: "kept apart again" })]);
            expect(await check()).toEqual([]);
            expect(await reached()).toEqual([false, true]);
            lab.networks.openLink({ ...link, ports: [...link.ports] });
            expect(await reached()).toEqual([true, true]);
            lab.networks.closeLink(link);
            expect(await reached()).toEqual([false, true]);
          }
          await lab.restart([a.id, b.id], { icc: false, iptables: false });
          expect((await reached())[0]).toBe(false); // no rules keep them apart: the ports do
        } finally {
          await filtered(1);
          lab.removeAll();
          await lab.restart();
        }
      },
    );

    test("a link that gives IPv6's default route alone has that again", async () => {
      await lab.networks.create({ name: "six", enableIPv6: true, ipam: { driver: "default", options: {}, config: [{ subnet: "fd00:6::/64" }] } });
      const a = await lab.container();
      await lab.networks.connect({
        ...{ containerId: a.id, containerName: "web", hostname: "web", network: "six" },
        ...{ settings: {}, portBindings: {} },
      });
      const inside = (...args: string[]): Promise<string> => run("nsenter", `--net=${a.path}`, "ip", "-6", ...args);
      const { hostInterface } = lab.networks.endpointsOfContainer(a.id)[1]!;
      for (const damage of [() => inside("addr", "flush", "dev", "eth1"), () => ip("link", "delete", hostInterface)]) {
        expect(await inside("route")).toContain("default via fd00:6::1 dev eth1");
        await damage();
        expect((await check(true)).every(({ repaired }) => repaired !== undefined)).toBe(true);
      }
      expect(await inside("route")).toContain("default via fd00:6::1 dev eth1");
      lab.removeAll();
      await lab.networks.remove("six");
    });

    test("forwarding that somebody turned off", () =>
      mends(() => run("sysctl", "-qw", "net.ipv4.ip_forward=0"), /^the host doesn't forward IPv4 packets \(net.ipv4.ip_forward is 0\)/));

    test("rules that differ are told line by line, whatever the order of elements", async () => {
      const rules = (name: string): string => `add table inet ${name}
delete table inet ${name}
table inet ${name} {
  map p4 { type inet_proto . inet_service : ipv4_addr . inet_service; elements = { ${Array.from({ length: 40 }, (_, i) => `tcp . ${8000 + i} : 10.0.0.2 . 80`).join(", ")} } }
  chain forward { type filter hook forward priority filter; ct state established accept
    counter drop
  }
}
`;
      // not named as the engine's are: it would mend them at once
      await run("sh", "-c", `nft -f - <<'X'\n${rules("theirs")}\nX`);
      const differences = (): string[] => compareRules([{ table: "inet theirs", family: "inet", copy: "copied", ruleset: rules("copied") }]);
      expect(differences()).toEqual([]);
      await nft("insert rule inet theirs forward accept; delete element inet theirs p4 { tcp . 8010 }");
      expect(differences()).toEqual(["missing: p4: element tcp . 8010 : 10.0.0.2 . 80", "too much: forward: accept"]);
      await nft("delete table inet theirs");
      expect(differences()).toEqual(["table inet theirs is gone"]);
      expect(await nft("list tables")).not.toContain("copied");
      await nft("delete table inet berth_abc123");
      await eventually(async () => (await check()).length === 0, "the engine's own are mended without being asked");
    });

    test("others' chains that drop: told with the command that helps", async () => {
      await nft("add table inet filter; add chain inet filter passing { type filter hook forward priority 10 ; policy drop ; }");
      const [found] = await check(true);
      expect(found).toEqual({
        kind: "rules",
        level: "problem",
        problem:
          "chain passing of nftables' table inet filter drops what it doesn't name (hook forward, policy drop): containers reach nothing outside unless one of its rules lets them",
        next: "nft insert rule inet filter passing meta mark and 0xe00000 == 0xe00000 accept, in the file that sets the chain up too",
      });
      const before = await nft("list table inet filter");
      await run("sh", "-c", found!.next!.replace(/, in the file.*/, ""));
      expect(await check()).toEqual([]);
      expect(await nft("list table inet filter")).not.toBe(before);
      const a = await lab.container();
      using _world = await serve(lab.outside, "world", 7, 7);
      expect(await ask(a.path, "tcp", "192.0.2.9", 7)).toBe("world 192.0.2.1");
      await nft("delete table inet filter");
    });

    test("a route of somebody else's within a network's addresses; a smaller MTU on the way out; strict filters with two ways out", async () => {
      await ip("route", "add", "172.17.9.0/24", "via", "192.0.2.9");
      expect(await sentences()).toEqual([
        expect.stringMatching(/^the host sends 172.17.9.0\/24 out by world, which is within 172.17.0.0\/16 of network bridge/),
      ]);
      await ip("route", "delete", "172.17.9.0/24");
      await ip("route", "add", "default", "via", "192.0.2.9");
      await ip("link", "set", "world", "mtu", "1400");
      const [mtu] = await check();
      expect(mtu).toMatchObject({ level: "hint", problem: expect.stringMatching(/^network bridge has an MTU of 1500, the host's way out \(world\) 1400/) });
      await ip("link", "set", "world", "mtu", "1500");
      await ip("link", "add", "second", "type", "bridge");
      await ip("link", "set", "second", "up");
      await ip("route", "add", "default", "dev", "second", "metric", "100");
      await run("sysctl", "-qw", "net.ipv4.conf.world.rp_filter=1");
      expect(await sentences()).toEqual([expect.stringMatching(/^the host has 2 ways out, and filters strictly by reverse path on world/)]);
      await ip("link", "delete", "second");
      await ip("route", "delete", "default");
      await run("sysctl", "-qw", "net.ipv4.conf.world.rp_filter=0");
    });

    test("name servers that say nothing", async () => {
      names[Symbol.dispose]();
      expect(await sentences()).toEqual(["no name server answers: 192.0.2.9; containers resolve no names but each other's"]);
      names = await serveNames(lab.outside, "192.0.2.9");
    });

    test("a published port that another process took while no engine ran", async () => {
      const a = await published();
      await lab.networks.close({ containersLive: true });
      const taken = Bun.listen({ hostname: "0.0.0.0", port: 8080, socket: { data() {} } });
      await lab.resume([a.id]);
      const [found] = await check(true);
      expect(found).toMatchObject({
        kind: "port",
        container: a.id,
        problem: expect.stringMatching(/:8080\/tcp of container c+\w+ is taken by another process/),
      });
      expect(found!.next).toContain("it can't be repaired: ");
      taken.stop(true);
      expect((await check(true)).map(({ repaired }) => repaired)).toEqual(["held again"]);
      expect(await check()).toEqual([]);
    });

    test("the namespace of a container that doesn't run, and a link that is nobody's", async () => {
      const gone = lab.newId();
      await lab.networks.createNamespace(gone);
      await ip("link", "add", "vethdeadbeef", "type", "veth", "peer", "name", "other");
      await ip("link", "set", "vethdeadbeef", "master", "brabc123");
      const found = await check(true, new Set([gone]));
      expect(found.map(({ problem, repaired }) => [problem, repaired])).toEqual([
        ["link vethdeadbeef on bridge brabc123 belongs to no container", "removed"],
        [`container ${gone.slice(0, 12)} doesn't run, but its network namespace is still there`, "removed"],
      ]);
      expect(await check(false, new Set([gone]))).toEqual([]);
    });
  });
}
