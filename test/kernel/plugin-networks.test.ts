import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { findLink, listLinks, openRouteSocket } from "../../src/kernel/netlink-route.ts";
import type { NetworkRecord } from "../../src/networks/types.ts";
import { startPlugin, type TestPlugin } from "../plugin/start.ts";
import { skips } from "../skips.ts";
import { eventually, Lab, reaches, run } from "./network-lab.ts";
import { outcome } from "../outcome.ts";
import { inOwnNamespace } from "./own-namespace.ts";

/** Networks and addresses of the plugin in test/plugin, which makes bridges and veth pairs. */
if (!skips.root.missing()) {
  inOwnNamespace(import.meta.path, "networks of a plugin", () => {
    let lab: Lab;
    let plugin: TestPlugin;
    let host: ReturnType<typeof openRouteSocket>;
    beforeAll(async () => {
      lab = await Lab.open();
      host = openRouteSocket();
    });
    beforeEach(async () => {
      plugin = await startPlugin();
      lab.pluginFolder = plugin.folder;
      await restart();
    });
    afterEach(async () => {
      lab.removeAll();
      await lab.removeNetworks();
      await plugin[Symbol.asyncDispose]();
    });
    afterAll(async () => {
      host[Symbol.dispose]();
      await lab[Symbol.asyncDispose]();
    });

    const restart = async (running: string[] = []): Promise<void> => {
      await lab.networks.close({ containersLive: true });
      await lab.resume(running);
    };
    const make = (more: Partial<NetworkRecord> = {}) =>
      lab.networks.create({
        ...{ name: `n-${crypto.randomUUID()}`, driver: "tested", options: { color: "red" } },
        ipam: { driver: "default", options: {}, config: [{ subnet: "10.40.0.0/24", gateway: "10.40.0.1" }] },
        ...more,
      });
    const methods = (from = 0): string[] =>
      plugin
        .calls()
        .slice(from)
        .map(({ method }) => method.replace(/^NetworkDriver\./, ""));

    test("the plugin is told of a network, its endpoints, and their end; packets pass", async () => {
      const network = await make();
      expect(network.scope).toBe("local");
      const [create] = plugin.calls("NetworkDriver.CreateNetwork");
      expect(create?.request).toMatchObject({
        NetworkID: network.id,
        Options: { "com.docker.network.generic": { color: "red" }, "com.docker.network.enable_ipv6": false },
        IPv4Data: [{ Pool: "10.40.0.0/24", Gateway: "10.40.0.1/24" }],
        IPv6Data: [],
      });
      const before = plugin.calls().length;
      const one = await lab.container({ network: network.id, settings: { DriverOpts: { a: "b" } }, portBindings: { "80/tcp": [{ HostPort: "8080-8081" }] } });
      const two = await lab.container({ network: network.id });
      expect(methods(before).slice(0, 4)).toEqual(["CreateEndpoint", "Join", "ProgramExternalConnectivity", "EndpointOperInfo"]);
      const [made] = plugin.calls("NetworkDriver.CreateEndpoint");
      expect(made?.request).toMatchObject({ Interface: { Address: "10.40.0.2/24", AddressIPv6: "", MacAddress: "" }, Options: { a: "b" } });
      const [joined] = plugin.calls("NetworkDriver.Join");
      expect(joined?.request).toMatchObject({
        SandboxKey: one.path,
        Options: {
          "com.docker.network.endpoint.exposedports": [{ Proto: 6, Port: 80 }],
          "com.docker.network.portmap": [{ Proto: 6, Port: 80, HostPort: 8080, HostPortEnd: 8081 }],
        },
      });
      expect(one.endpoint).toMatchObject({ ipv4: "10.40.0.2", gateway: "10.40.0.1", containerInterface: "eth0", ports: [] });
      expect(one.endpoint.macAddress).toMatch(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
      expect(await reaches(one.path, two.endpoint.ipv4 ?? "")).toBe(true);
      expect(await reaches(one.path, "10.40.0.1")).toBe(true);
      const routes = await run("nsenter", `--net=${one.path}`, "ip", "route");
      expect(routes).toContain("default via 10.40.0.1 dev eth0");
      expect(routes).toContain("198.51.100.0/24 dev eth0");

      const end = plugin.calls().length;
      let isWritten = false;
      await lab.networks.disconnect(two.id, network.id, () => (isWritten = true));
      expect(isWritten).toBe(true);
      expect(methods(end)).toEqual(["RevokeExternalConnectivity", "Leave", "DeleteEndpoint"]);
      expect(await run("nsenter", `--net=${two.path}`, "ip", "-o", "link")).not.toContain("eth0");
      lab.remove(one.id);
      await lab.networks.remove(network.id);
      expect(methods().at(-1)).toBe("DeleteNetwork");
      expect(listLinks(host).filter(({ name }) => /^p[bhi]/.test(name))).toEqual([]);
    });

    test("what the plugin refuses is told, and nothing stays", async () => {
      await expect(make({ options: { fail: "1" } })).rejects.toThrow("no such network type");
      expect(lab.networks.list().length).toBe(3);
      await expect(make({ driver: "other" })).rejects.toThrow('plugin "other" not found');
      const network = await make();
      plugin.fault("NetworkDriver.CreateEndpoint", { status: 500, body: '{"Err":"full"}' });
      expect(await outcome(lab.container({ network: network.id }))).toThrow("NetworkDriver.CreateEndpoint: full");
      plugin.fault("NetworkDriver.CreateEndpoint", undefined);
      plugin.fault("NetworkDriver.Join", { status: 200, body: '{"InterfaceName":{"SrcName":"lo","DstPrefix":"eth"}}' });
      expect(await outcome(lab.container({ network: network.id }))).toThrow("there is no such link");
      expect(methods().at(-1)).toBe("Leave");
      plugin.fault("NetworkDriver.Join", { status: 200, body: '{"Gateway":"nowhere"}' });
      expect(await outcome(lab.container({ network: network.id }))).toThrow('unable to parse Gateway "nowhere"');
      lab.removeAll();
      plugin.fault("NetworkDriver.DeleteNetwork", { status: 200, body: '{"Err":"still needed"}' });
      await expect(lab.networks.remove(network.id)).rejects.toThrow("still needed");
      expect(lab.networks.resolve(network.id).name).toBe(network.name);
      plugin.fault("NetworkDriver.DeleteNetwork", undefined);
      plugin.fault("NetworkDriver.Join", undefined);
      const whole = await lab.container({ network: network.id });
      expect(whole.endpoint.ipv4).toBe("10.40.0.2");
    });

    test("a plugin that hangs holds up nobody else, and not for ever", async () => {
      const network = await make();
      plugin.fault("NetworkDriver.Join", "hang");
      const stuck = lab.container({ network: network.id });
      stuck.catch(() => {});
      const other = await lab.container();
      expect(other.endpoint.networkName).toBe("bridge");
      await expect(stuck).rejects.toThrow(/did not answer within/);
    }, 60_000);

    test("restarts: what lives goes on, and what nobody has any more is given back", async () => {
      const network = await make();
      const [one, two] = [await lab.container({ network: network.id }), await lab.container({ network: network.id })];
      const before = plugin.calls().length;
      await restart([one.id]);
      await eventually(() => methods(before).includes("DeleteEndpoint"), "the dead container's endpoint is deleted");
      expect(plugin.calls("NetworkDriver.DeleteEndpoint")[0]?.request).toMatchObject({ EndpointID: two.endpoint.id });
      expect(await reaches(one.path, "10.40.0.1")).toBe(true);
      // while the plugin is away nothing is forgotten
      await plugin.stop();
      lab.remove(one.id);
      await restart();
      await plugin.start();
      await restart();
      await eventually(
        () => plugin.calls("NetworkDriver.DeleteEndpoint").some(({ request }) => request["EndpointID"] === one.endpoint.id),
        "the last one is deleted, too",
      );
    }, 60_000);

    test("addresses of a plugin, on a bridge", async () => {
      const before = plugin.calls().length;
      const network = await make({ driver: "bridge", options: {}, ipam: { driver: "tested", options: { pool: "p" }, config: [] } });
      expect(network.ipam.config).toMatchObject([{ subnet: "10.200.0.0/24", gateway: "10.200.0.10", poolId: "here/10.200.0.0/24" }]);
      expect(plugin.calls("IpamDriver.RequestPool")[0]?.request).toEqual({ AddressSpace: "here", Pool: "", SubPool: "", Options: { pool: "p" }, V6: false });
      const one = await lab.container({ network: network.id });
      const wanted = await lab.container({ network: network.id, settings: { IPAMConfig: { IPv4Address: "10.200.0.77" } } });
      expect([one.endpoint.ipv4, wanted.endpoint.ipv4]).toEqual(["10.200.0.11", "10.200.0.77"]);
      expect(await reaches(one.path, "10.200.0.77")).toBe(true);
      const [, request] = plugin.calls("IpamDriver.RequestAddress");
      expect(request?.request).toMatchObject({ Options: { "com.docker.network.endpoint.macaddress": one.endpoint.macAddress } });
      expect(await outcome(lab.container({ network: network.id, settings: { IPAMConfig: { IPv4Address: "10.200.0.77" } } }))).toThrow("10.200.0.77 is taken");
      expect(await outcome(lab.container({ network: network.id, settings: { IPAMConfig: { IPv4Address: "10.201.0.1" } } }))).toThrow(
        "no configured subnet contains",
      );
      // at once after its end it is there again
      lab.remove(wanted.id);
      const again = await lab.container({ network: network.id, settings: { IPAMConfig: { IPv4Address: "10.200.0.77" } } });
      expect(again.endpoint.ipv4).toBe("10.200.0.77");
      lab.removeAll();
      await lab.networks.remove(network.id);
      expect(
        plugin
          .calls("IpamDriver.Release")
          .slice(-2)
          .map(({ request: { Address, PoolID } }) => [PoolID, Address]),
      ).toEqual([
        ["here/10.200.0.0/24", "10.200.0.10"],
        ["here/10.200.0.0/24", undefined],
      ]);
      expect(plugin.calls().length).toBeGreaterThan(before);
      expect(findLink(host, `br-${network.id.slice(0, 12)}`)).toBeUndefined();
    });

    test("pools that overlap, or that there are none of", async () => {
      const taken = await make({ driver: "bridge", options: {}, ipam: { driver: "default", options: {}, config: [{ subnet: "10.200.0.0/16" }] } });
      const ipam = (options: Record<string, string>, subnet = ""): NetworkRecord["ipam"] => ({
        driver: "tested",
        options,
        config: subnet === "" ? [] : [{ subnet }],
      });
      await expect(make({ driver: "bridge", options: {}, ipam: ipam({}) })).rejects.toThrow("has only pools that overlap");
      await expect(make({ driver: "bridge", options: {}, ipam: ipam({}, "10.200.3.0/24") })).rejects.toThrow("Pool overlaps with other one");
      await expect(make({ driver: "bridge", options: {}, ipam: ipam({ fail: "1" }) })).rejects.toThrow("no pool for you");
      await expect(make({ driver: "bridge", options: {}, ipam: ipam({}, "10.300.0.0/24") })).rejects.toThrow("invalid CIDR block notation");
      await expect(make({ driver: "bridge", options: {}, ipam: { ...ipam({}), driver: "nowhere" } })).rejects.toThrow('plugin "nowhere" not found');
      expect(plugin.calls("IpamDriver.ReleasePool").length).toBe(65);
      await lab.networks.remove(taken.id);
      const six = await make({ driver: "bridge", options: {}, enableIPv4: false, enableIPv6: true, ipam: ipam({}) });
      expect(six.ipam.config).toMatchObject([{ subnet: "fd00:200::/64" }]);
    });
  });
}
