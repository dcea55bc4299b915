import { closeSync, existsSync, openSync } from "node:fs";
import { writeSysctl } from "../kernel/namespace.ts";
import type { NetlinkMessage, NetlinkSocket } from "../kernel/netlink.ts";
import { setMac } from "../kernel/netlink-links.ts";
import { addAddress, addRoute, addVeth, deleteLink, findLink, getLink, noAutomaticAddress, setLinkUp } from "../kernel/netlink-route.ts";
import { addRoutingRule, deleteRoutingRule, type RoutingRule } from "../kernel/netlink-rule.ts";
import { bytesOf, parseAddress } from "../lib/address.ts";

/** The mark of packets that go round: the bits that the FORWARD rule accepts, and one of their own that the routing rule knows. */
export const LOOP_MARK = 0x00f00000;
const LOOP_BIT = 0x00100000;

/** Before any rule that an administrator is likely to have (a VPN's are in the thousands). */
const PRIORITY = 50;
const MAIN_TABLE = 254;
const MAC = Uint8Array.of(0x02, 0x42, 0, 0, 0, 1);
/** The largest there is: what was put together from fragments must pass in one piece. */
const MTU = 65_535;

/** Where copies are sent; nobody has these addresses, frames reach the other end whatever they say. */
export const loopGateway = { 4: "169.254.1.1", 6: "fe80::1" } as const;
const OWN_ADDRESS = "fe80::2";

/**
 * A pair of links with both ends on the host, by which the first packet of a connection comes in a second time. See docs/adr/0012. Both ends have one
 * hardware address and no ARP, so that what goes in by `entry` comes out at `exit`, whoever it is for. Packets that come out bear the client's address, which
 * reverse path filters (rp_filter, firewalld's) would take for forged: the rules and the table say that marked packets rightly come this way.
 */
export interface GuardLoop {
  /** Copies are sent out here. */
  readonly entry: string;
  /** And come in here. */
  readonly exit: string;
  /** Makes it, or what is missing of it. @throws SysError */
  setUp(): void;
  tearDown(): void;
  isWhole(): boolean;
}

/** `host` is rtnetlink of the host. */
export function createGuardLoop(host: NetlinkSocket, engineKey: string): GuardLoop {
  const entry = `bgo${engineKey}`;
  const exit = `bgi${engineKey}`;
  const table = 0x40000000 + Number.parseInt(engineKey, 16);
  const families = (): (4 | 6)[] => (existsSync("/proc/sys/net/ipv6/conf") ? [4, 6] : [4]);
  const rules = (): RoutingRule[] =>
    families().flatMap((family) => [
      { family, priority: PRIORITY, table: MAIN_TABLE, inputLink: exit },
      { family, priority: PRIORITY + 1, table, mark: { value: LOOP_BIT, mask: LOOP_BIT } },
    ]);

  /** Sends each alone; those that fail with `code` are as they should be. */
  const sendEach = (messages: readonly NetlinkMessage[], code: string): void => {
    for (const each of messages) {
      try {
        host.request(each);
      } catch (error) {
        if ((error as { code?: string }).code !== code) throw error;
      }
    }
  };

  const makeLinks = (): void => {
    const namespace = openSync("/proc/self/ns/net", "r");
    try {
      host.request(addVeth({ host: entry, namespace, peer: exit, mac: MAC, mtu: MTU }));
    } finally {
      closeSync(namespace);
    }
    host.request(setMac(getLink(host, entry).index, MAC));
  };

  const settings = (link: string, family: "ipv4" | "ipv6", values: Record<string, string>): void => {
    for (const [name, value] of Object.entries(values)) writeSysctl(`/proc/sys/net/${family}/conf/${link}/${name}`, value);
  };

  return {
    entry,
    exit,
    setUp() {
      if (findLink(host, entry) === undefined || findLink(host, exit) === undefined) makeLinks();
      const [out, back] = [getLink(host, entry), getLink(host, exit)];
      settings(exit, "ipv4", { rp_filter: "0", src_valid_mark: "1", forwarding: "1" });
      const six = families().includes(6);
      if (six) {
        for (const link of [entry, exit]) settings(link, "ipv6", { disable_ipv6: "0", accept_ra: "0", accept_dad: "0" });
        host.request(noAutomaticAddress(entry), noAutomaticAddress(exit));
      }
      host.request(setLinkUp(out, { arp: false }), setLinkUp(back, { arp: false }));
      host.settleCarriers(entry, exit);
      if (six) host.request(addAddress(out.index, bytesOf(parseAddress(OWN_ADDRESS)!), 64));
      const everything = families().map((family) => new Uint8Array(family === 4 ? 4 : 16));
      host.request(...everything.map((destination) => addRoute(back.index, { destination, prefixLength: 0, table })));
      sendEach(rules().map(addRoutingRule), "EEXIST");
    },
    tearDown() {
      sendEach(rules().map(deleteRoutingRule), "ENOENT");
      sendEach([deleteLink(entry)], "ENODEV");
    },
    isWhole() {
      const ends = [entry, exit].map((name) => findLink(host, name));
      return ends.every((link) => link?.up === true);
    },
  };
}
