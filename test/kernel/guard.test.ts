import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { skips } from "../skips.ts";
import { ask, eventually, Lab, run, serve, type Container } from "./network-lab.ts";
import { inOwnNamespace } from "./own-namespace.ts";

if (!skips.root.missing()) {
  inOwnNamespace(import.meta.path, "published ports behind the host's own firewall", () => {
    let lab: Lab;
    let rulesBefore = "";
    const nft = (command: string): Promise<string> => run("nft", command);
    const routing = async (): Promise<string> => (await run("ip", "rule")) + (await run("ip", "-6", "rule"));
    let routingBefore = "";

    beforeAll(async () => {
      rulesBefore = await nft("list ruleset");
      routingBefore = await routing();
      lab = await Lab.open({ publishMode: "firewall" });
      await run("ip", "addr", "add", "2001:db8::1/64", "dev", "world", "nodad");
      await run("nsenter", `--net=${lab.outside}`, "ip", "addr", "add", "2001:db8::9/64", "dev", "eth0", "nodad");
    });
    beforeEach(async () => {
      // what a host's own firewall commonly is
      await run(
        "sh",
        "-c",
        `nft -f - <<'X'
        table inet host {
          chain input {
            type filter hook input priority filter; policy drop;
            ct state established,related accept
            ct state invalid drop
            iifname lo accept
            icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
          }
        }
X`,
      );
    });
    afterEach(async () => {
      lab.removeAll();
      await nft("delete table inet host");
    });
    afterAll(() => lab[Symbol.asyncDispose]());

    const published = (): Promise<Container> =>
      lab.container({
        portBindings: { "80/tcp": [{ HostPort: "8080" }], "80/udp": [{ HostPort: "8080" }], "81/tcp": [{ HostIp: "192.0.2.1", HostPort: "8081" }] },
      });
    const from = (protocol: "tcp" | "udp", host = "192.0.2.1", port = 8080): Promise<string> => ask(lab.outside, protocol, host, port);

    test("closed from outside until the host's rules let the port in, then with the client's own address; open from the host and from containers", async () => {
      const a = await published();
      const b = await lab.container();
      using _80 = await serve(a.path, "a", 80, 80);
      using _81 = await serve(a.path, "a81", 81, 81);
      for (const protocol of ["tcp", "udp"] as const) expect(await from(protocol)).toBe("error timeout");
      expect(await from("tcp", "192.0.2.1", 8081)).toBe("error timeout");
      for (const host of ["127.0.0.1", "192.0.2.1", "::1"]) expect(await ask(undefined, "tcp", host, 8080)).toStartWith("a ");
      expect(await ask(b.path, "tcp", "192.0.2.1", 8080)).toStartWith("a ");
      expect(await ask(b.path, "tcp", "192.0.2.1", 8081)).toStartWith("a81 ");
      expect(await ask(a.path, "tcp", "192.0.2.1", 8080)).toStartWith("a "); // itself, by hairpin

      await nft("add rule inet host input ip saddr 192.0.2.9 meta l4proto { tcp, udp } th dport 8080-8081 accept");
      for (const protocol of ["tcp", "udp"] as const) for (let i = 0; i < 3; i++) expect(await from(protocol)).toBe("a 192.0.2.9");
      expect(await from("tcp", "192.0.2.1", 8081)).toBe("a81 192.0.2.9");
    });

    test("a rule for other clients or another link opens nothing; a reject is heard as such; so is the end of a permission", async () => {
      const a = await published();
      using _server = await serve(a.path, "a", 80, 80);
      await nft("add rule inet host input ip saddr 192.0.2.77 tcp dport 8080 accept");
      await nft('add rule inet host input iifname "other" tcp dport 8080 accept');
      await nft("add rule inet host input tcp dport 80 accept"); // the container's port isn't the host's
      expect(await from("tcp")).toBe("error timeout");
      await nft("insert rule inet host input tcp dport 8080 reject with tcp reset");
      expect(await from("tcp")).toBe("error ECONNREFUSED");
      await nft('insert rule inet host input iifname "world" tcp dport 8080 accept');
      expect(await from("tcp")).toBe("a 192.0.2.9");
      await nft("insert rule inet host input ip saddr 192.0.2.9 drop");
      expect(await from("tcp")).toBe("error timeout");
    });

    test("by IPv6 alike", async () => {
      await lab.networks.create({ name: "six", enableIPv6: true, ipam: { driver: "default", options: {}, config: [{ subnet: "fd00:78::/64" }] } });
      const a = await lab.container({ network: "six", portBindings: { "80/tcp": [{ HostPort: "8080" }], "80/udp": [{ HostPort: "8080" }] } });
      using _server = await serve(a.path, "a", 80, 80, "::");
      for (const protocol of ["tcp", "udp"] as const) expect(await from(protocol, "2001:db8::1")).toBe("error timeout");
      await nft("add rule inet host input meta l4proto { tcp, udp } th dport 8080 accept");
      for (const protocol of ["tcp", "udp"] as const) expect(await from(protocol, "2001:db8::1")).toBe("a 2001:db8::9");
      expect(await ask(undefined, "tcp", "::1", 8080)).toStartWith("a ");
      lab.removeAll();
      await lab.networks.remove("six");
    });

    for (const filter of ["0", "1", "2"]) {
      test(`with rp_filter ${filter} on all links, and a filter of forged IPv6 addresses as firewalld has it`, async () => {
        await run("sysctl", "-qw", `net.ipv4.conf.all.rp_filter=${filter}`);
        await nft("add chain inet host rpf { type filter hook prerouting priority -140 ; }");
        await nft("add rule inet host rpf meta nfproto ipv6 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept");
        await nft("add rule inet host rpf fib saddr . mark . iif oif missing drop");
        await nft("add rule inet host input tcp dport 8080 accept");
        const a = await published();
        using _server = await serve(a.path, "a", 80, 80);
        expect(await from("tcp")).toBe("a 192.0.2.9");
        await run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0");
      });
    }

    test("policies of DROP for what is forwarded and sent are passed by one documented rule each, and those go with the engine", async () => {
      await nft(
        "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority filter ; policy drop ; }; add chain ip filter OUTPUT { type filter hook output priority filter ; policy drop ; }",
      );
      await nft("add rule ip filter OUTPUT ct state established accept");
      // the engine may have been quicker
      const bare = (await nft("list table ip filter")).replace(/\n\t\tmeta mark & 0x00e00000 == 0x00e00000 counter packets \d+ bytes \d+ accept/g, "");
      await nft("add rule inet host input tcp dport 8080 accept");
      const a = await published();
      using _server = await serve(a.path, "a", 80, 80);
      await eventually(async () => (await from("tcp")) === "a 192.0.2.9", "the port answers");
      lab.removeAll();
      await lab.networks.close({ containersLive: false });
      expect(await nft("list table ip filter")).toBe(bare);
      await nft("delete table ip filter");
      await lab.resume();
    });

    test("an open connection outlives the engine, and a new one needs none; a port's rule goes with its container", async () => {
      await nft("add rule inet host input tcp dport 8080 accept");
      const a = await published();
      using _server = await serve(a.path, "a", 80, 80);
      await lab.networks.close({ containersLive: true });
      expect(await from("tcp")).toBe("a 192.0.2.9");
      await lab.resume([a.id]);
      expect(await from("tcp")).toBe("a 192.0.2.9");
      lab.remove(a.id);
      expect(await from("tcp")).toMatch(/^error/);
    });

    test("a flush of all rules, and links that somebody deletes, are mended", async () => {
      const a = await published();
      using _server = await serve(a.path, "a", 80, 80);
      await nft("flush ruleset");
      await eventually(async () => (await from("tcp")) === "a 192.0.2.9", "with no firewall at all the port is open");
      await nft("add table inet host");
      await nft("delete table ip berth_abc123");
      await eventually(async () => (await from("tcp")) === "a 192.0.2.9", "one table");
      await run("ip", "link", "delete", "bgoabc123");
      await run("nft", "delete", "table", "inet", "berth_abc123");
      await eventually(async () => (await from("tcp")) === "a 192.0.2.9", "and the links");
    });

    test("another mode at the next start leaves nothing of this one, and back", async () => {
      const a = await published();
      using _server = await serve(a.path, "a", 80, 80);
      await lab.restart([a.id], { publishMode: "open" });
      expect(await from("tcp")).toBe("a 192.0.2.9"); // though the host's rules don't let it in
      expect(await nft("list tables")).not.toContain("ip berth");
      expect(await run("ip", "-br", "link")).not.toContain("bgi");
      expect(await routing()).toBe(routingBefore);
      await lab.restart([a.id]);
      expect(await from("tcp")).toBe("error timeout");
    });

    test("nothing is left", async () => {
      await lab.networks.close({ containersLive: false });
      await nft("delete table inet host");
      expect(await nft("list ruleset")).toBe(rulesBefore);
      await nft("add table inet host");
      expect(await routing()).toBe(routingBefore);
      await eventually(
        async () =>
          (await run("ip", "-br", "link"))
            .split("\n")
            .map((line) => line.split(/[@ ]/)[0]!)
            .toSorted()
            .join(" ") === "lo world",
        "links",
      );
    });
  });
}
