import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { removeMountedFile } from "../../src/kernel/mount.ts";
import { openNamespaceDoor } from "../../src/kernel/namespace.ts";
import { IFLA, linkHeader, listLinks, openRouteSocket, RTM_GETLINK } from "../../src/kernel/netlink-route.ts";
import { silent } from "../../src/lib/log.ts";
import { createBridgeDriver, hostInterfaceName } from "../../src/networks/bridge.ts";
import { ContainerNamespaces } from "../../src/networks/container-namespaces.ts";
import type { NetworkDriver } from "../../src/networks/driver.ts";
import { createGuardLoop } from "../../src/networks/guard-loop.ts";
import { createFirewall, type Firewall } from "../../src/networks/firewall.ts";
import { startHands } from "../../src/daemon/hands.ts";
import { type Chores, createChores } from "../../src/networks/chores.ts";
import { newId } from "../../src/networks/network-config.ts";
import { createParentDriver } from "../../src/networks/parent-driver.ts";
import { createHostDriver, createNullDriver } from "../../src/networks/plain-drivers.ts";
import type { NetworkRecord } from "../../src/networks/types.ts";
import type { NamespaceDoor } from "../../src/kernel/namespace.ts";
import { message, type NetlinkSocket, NLM_F_DUMP, parseAttributes } from "../../src/kernel/netlink.ts";
import { type DriverLab, networkDriverContract } from "../contract/network-driver.ts";
import { skipped, skips } from "../skips.ts";
import { reaches, run } from "./network-lab.ts";
import { inOwnNamespace } from "./own-namespace.ts";

const IFLA_OPERSTATE = 16;
const IF_OPER_UP = 6;

interface Parts {
  host: NetlinkSocket;
  door: NamespaceDoor;
  firewall: Firewall;
  chores: Chores;
  /** Networks of the test. */
  networks(): readonly NetworkRecord[];
}

/**
 * Operational states (RFC 2863) by link. From a dump: asked about one link, the kernel would see to its carrier first (net/core/rtnetlink.c,
 * rtnl_getlink).
 */
function statesOf(route: NetlinkSocket): Map<string, number> {
  const links = route.dump(message("list links", RTM_GETLINK, NLM_F_DUMP, linkHeader())).map((payload) => parseAttributes(payload, 16));
  return new Map(links.map((link) => [link.get(IFLA.IFNAME)!.toString().replace(/\0/g, ""), link.get(IFLA_OPERSTATE)![0]!]));
}

/** Everything a driver may ask for, real, in the test's own namespace. */
async function open(make: (parts: Parts) => NetworkDriver, options: Record<string, string> = {}): Promise<DriverLab> {
  const root = mkdtempSync(join(tmpdir(), "berth-driver-"));
  const hands = startHands();
  const chores = createChores(hands.links);
  const host = openRouteSocket();
  const networks: NetworkRecord[] = [];
  const parts: Parts = {
    host,
    door: openNamespaceDoor(),
    firewall: createFirewall({
      enabled: true,
      engineKey: "c0ffee",
      acceptMark: "",
      ip6tables: true,
      guard: false,
      loop: createGuardLoop(host, "c0ffee"),
      chores,
      log: silent,
    }),
    chores,
    networks: () => networks,
  };
  parts.firewall.load();
  if (options["parent"] !== undefined)
    await run("sh", "-c", `ip link add ${options["parent"]} type veth peer name other && ip link set ${options["parent"]} up && ip link set other up`);
  const driver = make(parts);
  const namespaces = new ContainerNamespaces(parts.door, join(root, "netns"), {
    make: () => chores.makeNamespace(),
    removeFile: async (path) => removeMountedFile(path),
    onError: () => {},
  });
  const ids: string[] = [];
  let next = 2;
  return {
    driver,
    network() {
      const config = driver.addresses ? [{ subnet: "10.80.0.0/24", gateway: "10.80.0.1" }] : [];
      const network: NetworkRecord = {
        id: newId(),
        name: "under-test",
        driver: driver.name,
        created: new Date(0).toISOString(),
        scope: "local",
        internal: false,
        attachable: false,
        enableIPv4: true,
        enableIPv6: false,
        ipam: { driver: "default", options: {}, config },
        options,
        labels: {},
      };
      networks.push(network);
      return network;
    },
    endpoint(network) {
      const id = newId();
      const last = next++;
      return {
        id,
        networkId: network.id,
        networkName: network.name,
        containerId: newId(),
        hostInterface: hostInterfaceName(id),
        containerInterface: "eth0",
        macAddress: `02:42:0a:50:00:${last.toString(16).padStart(2, "0")}`,
        ipv4: `10.80.0.${last}`,
        ipv4PrefixLength: 24,
        gateway: "10.80.0.1",
        dnsNames: [],
        ports: [],
      };
    },
    async namespace() {
      const id = newId();
      ids.push(id);
      const path = await namespaces.create(id);
      const handle = namespaces.open(path);
      let isOpen = true;
      const remove = (): void => {
        if (isOpen) handle[Symbol.dispose]();
        isOpen = false;
        void namespaces.remove(id);
      };
      return { ...handle, again: () => namespaces.open(path), remove };
    },
    hostLinks: () => listLinks(parts.host).map((link) => link.name),
    linksIn: (namespace) => listLinks(namespace.route).map((link) => link.name),
    // a bridge port may wait a second for its carrier (kernel/netlink-route.ts, joinBridge)
    reaches: (from, to) => reaches(`/proc/${process.pid}/fd/${from.fd}`, to.ipv4 ?? "", 3),
    async close() {
      namespaces.closeAll();
      for (const id of ids) void namespaces.remove(id);
      await Promise.all(networks.map((network) => Promise.resolve(driver.tearDown(network, { forGood: true }))));
      parts.firewall.unload();
      if (options["parent"] !== undefined) await run("ip", "link", "delete", options["parent"]);
      for (const part of [parts.firewall, parts.chores, hands, parts.door, parts.host]) part[Symbol.dispose]();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

if (!skips.root.missing()) {
  inOwnNamespace(import.meta.path, "network drivers", () => {
    const bridge = (): Promise<DriverLab> => open((parts) => createBridgeDriver({ ...parts, directRouting: false, alias: "", log: silent }));
    networkDriverContract("bridge", bridge);
    test("a bridge's endpoint is ready when it is attached: what it sends and gets at once isn't dropped", async () => {
      const lab = await bridge();
      using host = openRouteSocket();
      try {
        // whether the kernel comes to it in time by itself is chance
        for (let round = 0; round < 20; round++) {
          const network = lab.network();
          network.ipam.config = [{ subnet: `10.80.${round}.0/24`, gateway: `10.80.${round}.1` }];
          await lab.driver.setUp(network);
          const endpoint = lab.endpoint(network);
          const inside = await lab.namespace();
          await lab.driver.attach(network, endpoint, inside, { defaultRoute: false });
          const states = { ...Object.fromEntries(statesOf(inside.route)), ...Object.fromEntries(statesOf(host)) };
          const links = ["eth0", endpoint.hostInterface, `br-${network.id.slice(0, 12)}`];
          expect(links.map((name) => states[name])).toEqual([IF_OPER_UP, IF_OPER_UP, IF_OPER_UP]);
          inside.remove();
        }
      } finally {
        await lab.close();
      }
    });
    networkDriverContract("host", () => open(createHostDriver));
    networkDriverContract("null", () => open(createNullDriver));
    for (const driver of ["macvlan", "ipvlan"] as const) {
      if (skipped(driver)) continue;
      networkDriverContract(driver, () => open((parts) => createParentDriver(driver, { ...parts, engineKey: "c0ffee", log: silent }), { parent: "below" }));
    }
  });
}
