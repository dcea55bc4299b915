import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { findLink, listLinks, openRouteSocket } from "../../src/kernel/netlink-route.ts";
import type { NetworkRecord } from "../../src/networks/types.ts";
import { skipped, skips } from "../skips.ts";
import { type Container, eventually, Lab, reaches, run } from "./network-lab.ts";
import { outcome } from "../outcome.ts";
import { inOwnNamespace } from "./own-namespace.ts";

/** Networks on the host's link `world`, which leads to 192.0.2.9 outside. */
if (!skips.root.missing()) {
  inOwnNamespace(import.meta.path, "networks on a parent", () => {
    let lab: Lab;
    let host: ReturnType<typeof openRouteSocket>;
    beforeAll(async () => {
      lab = await Lab.open();
      host = openRouteSocket();
    });
    afterEach(async () => {
      lab.removeAll();
      await lab.removeNetworks();
    });
    afterAll(async () => {
      host[Symbol.dispose]();
      await lab[Symbol.asyncDispose]();
    });

    const make = (driver: string, options: Record<string, string>, config: NetworkRecord["ipam"]["config"] = [], more: Partial<NetworkRecord> = {}) =>
      lab.networks.create({ name: `${driver}-${crypto.randomUUID()}`, driver, options, ipam: { driver: "default", options: {}, config }, ...more });
    const routes = ({ path }: Container): Promise<string> => run("nsenter", `--net=${path}`, "ip", "route");
    const outside = (...command: string[]): Promise<string> => run("nsenter", `--net=${lab.outside}`, ...command);

    describe("what is wrong is said before anything is made", () => {
      const bad: [string, Record<string, string>, string][] = [
        ["macvlan", { macvlan_mode: "tunnel" }, "requested macvlan mode 'tunnel' is not valid, 'bridge' mode is the macvlan driver default"],
        ["macvlan", { parent: "lo" }, "loopback interface is not a valid macvlan parent link"],
        ["macvlan", { parent: "a b" }, "is not an interface name"],
        ["ipvlan", { ipvlan_mode: "l4" }, "requested ipvlan mode 'l4' is not valid, 'l2' mode is the ipvlan driver default"],
        ["ipvlan", { ipvlan_flag: "x" }, "requested ipvlan flag 'x' is not valid, 'bridge' is the ipvlan driver default"],
        ["ipvlan", { parent: "lo" }, "loopback interface is not a valid ipvlan parent link"],
        ["macvlan", { "com.docker.network.driver.mtu": "1" }, "invalid MTU number: 1"],
      ];
      for (const [driver, options, error] of bad) {
        test(`${driver} ${JSON.stringify(options)}`, async () => {
          await expect(make(driver, options)).rejects.toThrow(error);
          expect(lab.networks.list().length).toBe(3);
        });
      }
    });

    for (const kind of ["macvlan", "ipvlan", "dummy", "vlan"] as const) {
      const [driver, options] = kind === "dummy" ? ["macvlan", {}] : kind === "vlan" ? ["macvlan", { parent: "world.7" }] : [kind, { parent: "world" }];
      if (!skipped(kind) || (driver === "macvlan" && kind !== driver && skipped(driver))) continue;
      test(`a kernel without ${kind} links is told, and nothing is made`, async () => {
        const before = listLinks(host).map(({ name }) => name);
        await expect(make(driver, options)).rejects.toThrow(new RegExp(`network ${driver}-\\S+: this kernel can't make ${kind} links`));
        expect(lab.networks.list().length).toBe(3);
        expect(listLinks(host).map(({ name }) => name)).toEqual(before);
      });
    }

    test.skipIf(skipped("macvlan", "vlan"))("parents that can't be", async () => {
      const bad: [string, string][] = [
        ["gone", "invalid subinterface vlan name gone, example formatting is eth0.10"],
        ["gone.10", "-o parent interface was not found on the host: gone"],
        ["world.0", "vlan id must be between 1-4094, received: 0"],
        ["world.4095", "vlan id must be between 1-4094, received: 4095"],
        ["world.x", "unable to parse a valid vlan id from: x (ex. eth0.10 for vlan 10)"],
        ["world.1.2", "required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, instead received world.1.2"],
      ];
      for (const [parent, error] of bad) await expect(make("macvlan", { parent })).rejects.toThrow(error);
    });

    test.skipIf(skipped("macvlan"))("macvlan in mode bridge: outside, each other, the default route, addresses of both families", async () => {
      await outside("ip", "-6", "addr", "add", "fd00:2::9/64", "dev", "eth0", "nodad");
      const config = [{ subnet: "192.0.2.0/24", ipRange: "192.0.2.128/25", gateway: "192.0.2.9" }, { subnet: "fd00:2::/64" }];
      const network = await make("macvlan", { parent: "world" }, config, { enableIPv6: true });
      const [one, two] = [await lab.container({ network: network.id }), await lab.container({ network: network.id })];
      expect(one.endpoint).toMatchObject({ ipv4: "192.0.2.128", gateway: "192.0.2.9", hostInterface: "", containerInterface: "eth0", ipv6: "fd00:2::1" });
      for (const address of ["192.0.2.9", two.endpoint.ipv4 ?? "", "fd00:2::9", two.endpoint.ipv6 ?? ""])
        expect([address, await reaches(one.path, address)]).toEqual([address, true]);
      expect(await routes(one)).toContain("default via 192.0.2.9 dev eth0");
      expect(one.endpoint.macAddress).not.toBe(two.endpoint.macAddress);
      expect(await run("nsenter", `--net=${one.path}`, "ip", "-o", "link", "show", "eth0")).toContain(one.endpoint.macAddress);
      await lab.networks.disconnect(two.id, network.id);
      expect(await run("nsenter", `--net=${two.path}`, "ip", "-o", "link")).not.toContain("eth0");
      expect(await reaches(one.path, two.endpoint.ipv4 ?? "")).toBe(false);
    });

    test.skipIf(skipped("macvlan"))("macvlan in mode private keeps containers apart, in mode passthru there is one", async () => {
      const privately = await make("macvlan", { parent: "world", macvlan_mode: "private" }, [{ subnet: "192.0.2.0/24", ipRange: "192.0.2.128/25" }]);
      const [one, two] = [await lab.container({ network: privately.id }), await lab.container({ network: privately.id })];
      expect(await reaches(one.path, "192.0.2.9")).toBe(true);
      expect(await reaches(one.path, two.endpoint.ipv4 ?? "")).toBe(false);
      await expect(make("macvlan", { parent: "world", macvlan_mode: "passthru" })).rejects.toThrow(
        `macvlan network ${privately.id} is already using parent interface world`,
      );
      lab.remove(one.id, two.id);
      await lab.networks.remove(privately.id);
      const alone = await make("macvlan", { parent: "world", macvlan_mode: "passthru" }, [{ subnet: "192.0.2.0/24", ipRange: "192.0.2.128/25" }]);
      await expect(make("macvlan", { parent: "world" })).rejects.toThrow(
        `macvlan network ${alone.id} is already using parent interface world in mode passthru`,
      );
      await lab.container({ network: alone.id });
      expect(await outcome(lab.container({ network: alone.id }))).toThrow("failed to create the macvlan port on world");
    });

    test.skipIf(skipped("macvlan", "vlan"))("a VLAN's parent is made and goes with the last network; its frames are tagged", async () => {
      await outside("sh", "-c", "ip link add link eth0 name eth0.10 type vlan id 10; ip addr add 10.9.0.9/24 dev eth0.10; ip link set eth0.10 up");
      const config = [{ subnet: "10.9.0.0/24", gateway: "10.9.0.9" }];
      const first = await make("macvlan", { parent: "world.10" }, config);
      const second = await make("macvlan", { parent: "world.10" }, [{ subnet: "10.10.0.0/24" }]);
      expect(findLink(host, "world.10")).toMatchObject({ kind: "vlan", up: true });
      const { id, path } = await lab.container({ network: first.id });
      expect(await reaches(path, "10.9.0.9")).toBe(true);
      lab.remove(id);
      await lab.networks.remove(first.id);
      expect(findLink(host, "world.10")).toBeDefined();
      await lab.networks.remove(second.id);
      expect(findLink(host, "world.10")).toBeUndefined();
      await run("ip", "link", "add", "link", "world", "name", "world.20", "type", "vlan", "id", "20");
      await lab.networks.remove((await make("macvlan", { parent: "world.20" })).id);
      expect(findLink(host, "world.20")).toBeDefined();
      await run("ip", "link", "delete", "world.20");
    });

    test.skipIf(skipped("ipvlan"))("ipvlan: layer 2 has the parent's MAC and the gateway that was given", async () => {
      const network = await make("ipvlan", { parent: "world" }, [{ subnet: "192.0.2.0/24", ipRange: "192.0.2.128/25", gateway: "192.0.2.9" }]);
      await expect(make("ipvlan", { parent: "world" })).rejects.toThrow("is already using parent interface world");
      const [one, two] = [await lab.container({ network: network.id }), await lab.container({ network: network.id })];
      expect(one.endpoint.macAddress).toBe(findLink(host, "world")?.mac ?? "");
      expect(await routes(one)).toContain("default via 192.0.2.9 dev eth0");
      for (const address of ["192.0.2.9", two.endpoint.ipv4 ?? ""]) expect(await reaches(one.path, address)).toBe(true);
      expect(await outcome(lab.container({ network: network.id, settings: { MacAddress: "02:00:00:00:00:01" } }))).toThrow(
        "ipvlan interfaces do not support custom mac address assignment",
      );
      await lab.networks.disconnect(two.id, network.id);
      expect(await reaches(one.path, two.endpoint.ipv4 ?? "")).toBe(false);
    });

    test.skipIf(skipped("ipvlan")).each(["l3", "l3s"])("ipvlan in layer 3 (%s) routes by the link alone", async (mode) => {
      await outside("ip", "route", "replace", "10.11.0.0/24", "via", "192.0.2.1");
      const network = await make("ipvlan", { parent: "world", ipvlan_mode: mode }, [{ subnet: "10.11.0.0/24" }]);
      const { path, endpoint } = await lab.container({ network: network.id });
      expect(endpoint.gateway).toBeUndefined();
      expect(await routes({ path, endpoint, id: "" })).toContain("default dev eth0");
      expect(await reaches(path, "192.0.2.9")).toBe(true);
    });

    test.skipIf(skipped("macvlan", "ipvlan", "dummy"))("without a parent there is a dummy, and no way out", async () => {
      for (const driver of ["macvlan", "ipvlan"]) {
        const network = await make(driver, {}, [{ subnet: "10.12.0.0/24", gateway: "10.12.0.1" }]);
        const dummy = `${driver === "macvlan" ? "dm" : "di"}-${network.id.slice(0, 12)}`;
        expect(findLink(host, dummy)).toMatchObject({ kind: "dummy", up: true });
        const [one, two] = [await lab.container({ network: network.id }), await lab.container({ network: network.id })];
        expect(await reaches(one.path, two.endpoint.ipv4 ?? "")).toBe(true);
        expect(await routes(one)).not.toContain("default");
        lab.remove(one.id, two.id);
        await lab.networks.remove(network.id);
        expect(findLink(host, dummy)).toBeUndefined();
      }
    });

    test.skipIf(skipped("macvlan"))("the default route is given by another network where this one knows no way", async () => {
      const network = await make("macvlan", { parent: "world" }, [{ subnet: "192.0.2.0/24", ipRange: "192.0.2.128/25" }]);
      const container = await lab.container({ network: network.id });
      expect(await routes(container)).not.toContain("default");
      await lab.networks.connect({ containerId: container.id, containerName: "x", hostname: "x", network: "bridge", settings: {}, portBindings: {} });
      expect(await routes(container)).toMatch(/default via \S+ dev eth1/);
    });

    test.skipIf(skipped("macvlan"))("published ports stay with the bridge", async () => {
      const network = await make("macvlan", { parent: "world" }, [{ subnet: "192.0.2.0/24", ipRange: "192.0.2.128/25", gateway: "192.0.2.9" }]);
      const container = await lab.container({ portBindings: { "80/tcp": [{ HostPort: "8099" }] } });
      const options = { containerId: container.id, containerName: "x", hostname: "x", portBindings: {} };
      await lab.networks.connect({ ...options, network: network.id, settings: { GwPriority: 1 } });
      expect(await routes(container)).toContain("default via 192.0.2.9 dev eth1");
      const ports = lab.networks.endpointsOfContainer(container.id).map((endpoint) => [endpoint.networkName, endpoint.ports.length > 0]);
      expect(ports).toEqual([
        ["bridge", true],
        [network.name, false],
      ]);
    });

    test.skipIf(skipped("macvlan", "vlan", "dummy"))("restarts: what lives goes on, what a crash left goes", async () => {
      const network = await make("macvlan", { parent: "world.30" }, [{ subnet: "10.13.0.0/24" }]);
      const [one, two] = [await lab.container({ network: network.id }), await lab.container({ network: network.id })];
      await lab.networks.close({ containersLive: true });
      for (const [name, alias] of [
        ["dm-000000000000", "berth abc123"],
        ["dm-111111111111", "berth other"],
      ] as const) {
        await run("sh", "-c", `ip link add ${name} type dummy; ip link set ${name} alias '${alias}'`);
      }
      await lab.resume([one.id, two.id]);
      expect(await reaches(one.path, two.endpoint.ipv4 ?? "")).toBe(true);
      await eventually(() => findLink(host, "dm-000000000000") === undefined, "the forgotten parent is gone");
      expect(findLink(host, "dm-111111111111")).toBeDefined();
      await run("ip", "link", "delete", "dm-111111111111");
      lab.removeAll();
      await lab.networks.close({ containersLive: false });
      expect(findLink(host, "world.30")).toBeUndefined();
      await lab.resume();
      expect(findLink(host, "world.30")).toBeDefined();
    });
  });
}
