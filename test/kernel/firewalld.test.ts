import { afterAll, beforeAll, expect, test } from "bun:test";
import { commandsOf, outputOf } from "../documented.ts";
import { skipped } from "../skips.ts";
import { type FirewalldHost, openFirewalldHost } from "./firewalld-host.ts";
import { ask, eventually, Lab, run, serve } from "./network-lab.ts";
import { inOwnNamespace } from "./own-namespace.ts";

if (!skipped("root", "overlay", "firewalld")) {
  inOwnNamespace(import.meta.path, "Debian's firewalld", () => {
    let host: FirewalldHost | undefined;
    let lab: Lab;
    const command = (...args: string[]): Promise<string> => host!.command(...args);
    const inZone = (zone: string): Promise<string[]> => host!.interfacesOf(zone);
    const defaultBridge = "brabc123";
    /** firewalld's rules, and what it says of all its zones. Chains of a zone that was once in use stay, with nothing that leads to them. */
    const theirs = async (): Promise<string> => {
      const rules = (await run("nft", "-s", "list", "table", "inet", "firewalld"))
        .replace(/\tchain \w+_trusted(_\w+)? \{\n.*?\t\}\n/gms, "")
        .replaceAll(/\n+/g, "\n");
      return `${rules}\n${await command("--list-all-zones")}`;
    };
    const outward = (path: string): Promise<string> => ask(path, "tcp", "192.0.2.9", 7).catch(String);
    const published = (): Promise<string> => ask(lab.outside, "tcp", "192.0.2.1", 8080).catch(String);
    const hints = async (): Promise<string[]> =>
      (await lab.networks.check({ repair: false, atRest: new Set() })).problems.filter(({ kind }) => kind === "rules").map(({ problem }) => problem);
    const resources = new AsyncDisposableStack();

    beforeAll(async () => {
      host = resources.use(await openFirewalldHost());
      await host.start();
    });
    afterAll(async () => await resources.disposeAsync());

    test("was there first: containers reach the outside and ports are published at once, what it has of others stays, and nothing of ours is left", async () => {
      await command("--zone=public", "--add-port=1234/tcp"); // a reload would lose it
      const before = await theirs();
      lab = resources.use(await Lab.open({}, host!.bus));
      resources.use(await serve(lab.outside, "world", 7, 7));
      const a = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }] } });
      {
        using _a = await serve(a.path, "a", 80, 80);
        expect([await outward(a.path), await published()]).toEqual(["world 192.0.2.1", "a 192.0.2.9"]);
      }
      expect([await inZone("trusted"), await command("--zone=public", "--query-port=1234/tcp")]).toEqual([[defaultBridge], "yes"]);
      lab.removeAll();
      await lab.networks.close({ containersLive: false });
      expect(await theirs()).toBe(before);
      await lab.resume();
      expect(await hints()).toEqual([]);
    });

    test("from its reload on bridges are in a zone of ours, and its other zones as they were", async () => {
      const a = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }] } });
      using _a = await serve(a.path, "a", 80, 80);
      const options = { "com.docker.network.bridge.gateway_mode_ipv4": "routed" };
      await lab.networks.create({ name: "routed", ipam: { driver: "default", options: {}, config: [{ subnet: "198.51.100.0/24" }] }, options });
      expect(await hints()).toEqual([expect.stringMatching(/^firewalld lets nothing in .* zone berth \(networks routed\)/)]);
      await command("--reload");
      await eventually(async () => (await inZone("berth")).includes(defaultBridge), "the bridge in the zone");
      expect(await hints()).toEqual([]);
      expect([await outward(a.path), await published(), await inZone("trusted")]).toEqual(["world 192.0.2.1", "a 192.0.2.9", []]);
      await command("--reload");
      await eventually(async () => (await outward(a.path)) === "world 192.0.2.1", "the way out, after another reload");
      const zones = (await command("--list-all-zones")).split(/\n\n+/).filter((zone) => !zone.startsWith("berth"));
      const fresh = (await command("--permanent", "--list-all-zones")).split(/\n\n+/).filter((zone) => !zone.startsWith("berth"));
      expect(zones.map((zone) => zone.replace(/ \(.*\)/, ""))).toEqual(fresh.map((zone) => zone.replace(/ \(.*\)/, "")));
      lab.removeAll();
    });

    test("networks that come reach out at once, a routed one is reached, and those that go leave its zone", async () => {
      const plain = await lab.networks.create({ name: "plain" });
      const bridges = [plain, lab.networks.resolve("routed")].map(({ id }) => `br-${id.slice(0, 12)}`);
      expect(await inZone("berth")).toEqual([...bridges, defaultBridge].sort());
      const a = await lab.container({ network: "plain" });
      expect(await outward(a.path)).toBe("world 192.0.2.1");
      const b = await lab.container({ network: "routed", portBindings: { "80/tcp": [{ HostPort: "" }] } });
      using _b = await serve(b.path, "b", 80, 80);
      await run("nsenter", `--net=${lab.outside}`, "ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.1");
      expect(await ask(lab.outside, "tcp", b.endpoint.ipv4!, 80)).toBe("b 192.0.2.9");
      lab.removeAll();
      for (const name of ["plain", "routed"]) await lab.networks.remove(name);
      await eventually(async () => Bun.deepEquals(await inZone("berth"), [defaultBridge]), "both are gone from the zone");
    });

    test("it stops, dies and comes back while the engine runs, or while none does", async () => {
      const a = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }] } });
      using _a = await serve(a.path, "a", 80, 80);
      const works = async (): Promise<boolean> => (await outward(a.path)) === "world 192.0.2.1" && (await published()) === "a 192.0.2.9";
      await host!.stop();
      expect(await works()).toBe(true);
      await lab.networks.create({ name: "meanwhile" });
      await host!.start();
      await eventually(works, "both ways beside the new one");
      await eventually(async () => (await inZone("berth")).length === 2, "both bridges");
      const told = outputOf("firewall.md", "firewall-cmd --get-active-zones");
      const shown = (await command("--get-active-zones")).replaceAll(/brabc123|br-[0-9a-f]{12}/g, "BRIDGE").split("\n");
      expect(shown).toEqual(told.map((line) => line.replaceAll(/berth0|br-[0-9a-f]{12}/g, "BRIDGE")));
      await lab.networks.close({ containersLive: true });
      expect([await works(), (await inZone("berth")).length]).toEqual([true, 2]);
      host!.signal("SIGKILL");
      await host!.start();
      // of a network that went as the engine was killed
      await command("--zone=berth", "--add-interface=br-0123456789ab");
      await lab.resume([a.id]);
      expect([await works(), (await inZone("berth")).length]).toEqual([true, 2]);
      lab.removeAll();
      await lab.networks.remove("meanwhile");
    });

    test("what the administrator has put into a zone for good stays there", async () => {
      await command("--permanent", "--zone=dmz", "--add-interface=mine0");
      await lab.networks.create({ name: "mine", options: { "com.docker.network.bridge.name": "mine0" } });
      expect([await command("--get-zone-of-interface=mine0").catch(() => "none"), await inZone("berth")]).toEqual(["none", [defaultBridge]]);
      await command("--reload");
      await eventually(async () => (await inZone("berth")).includes(defaultBridge), "the bridge in the zone");
      expect(await inZone("dmz")).toEqual(["mine0"]);
      expect(await hints()).toEqual([expect.stringMatching(/^bridge mine0 is in firewalld's zone dmz/)]);
      await lab.networks.remove("mine");
      expect(await inZone("dmz")).toEqual(["mine0"]);
    });

    test("with --publish-mode firewall it opens and closes ports as a program's", async () => {
      await lab.restart([], { publishMode: "firewall" });
      const a = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8080" }] } });
      using _a = await serve(a.path, "a", 80, 80);
      expect([await outward(a.path), await published()]).toEqual(["world 192.0.2.1", expect.not.stringMatching(/^a /)]);
      for (const documented of commandsOf("firewall.md", "firewall-cmd").filter(([first]) => first!.startsWith("--add-port"))) await command(...documented);
      expect(await published()).toBe("a 192.0.2.9");
      await command("--remove-port=8080/tcp");
      expect(await published()).not.toMatch(/^a /);
      lab.removeAll();
      await lab.restart();
    });

    test("one that hangs holds up the first network for a while, no other, nor the engine's end, and nothing fails", async () => {
      await eventually(async () => Bun.deepEquals(await inZone("berth"), [defaultBridge]), "firewalld is at rest");
      host!.signal("SIGSTOP");
      for (const name of ["x", "y"]) await lab.networks.create({ name });
      await lab.networks.close({ containersLive: false });
      lab.networks = lab.start();
      host!.signal("SIGCONT");
      await lab.networks.restore(new Set());
      await eventually(async () => (await inZone("berth")).length === 3, "it hears of them when it wakes up");
      for (const name of ["x", "y"]) await lab.networks.remove(name);
    });
  });
}
