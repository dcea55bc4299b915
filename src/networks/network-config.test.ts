import { expect, test } from "bun:test";
import { parsePrefix } from "../lib/address.ts";
import { defaultPools, localPool } from "./ipam.ts";
import { checkName, parseBip, planSubnets, type SubnetPlan } from "./network-config.ts";

const plan = (changes: Partial<SubnetPlan>) =>
  planSubnets({ config: [], enableIPv4: true, enableIPv6: false, pools: [...defaultPools, localPool("id")], networks: [], avoid: () => [[]], ...changes });
const block = (text: string) => parsePrefix(text)!.subnet;

test("a network without wishes gets a subnet that nobody uses and its first address as gateway", () => {
  expect(plan({ networks: [block("172.17.0.0/16")], avoid: () => [[block("172.18.0.0/16")]] })).toEqual([{ subnet: "172.19.0.0/16", gateway: "172.19.0.1" }]);
});

test("IPv6 without a wish comes from a unique local prefix", () => {
  const [, six] = plan({ enableIPv6: true });
  expect(six!.subnet).toMatch(/^fd[0-9a-f:]+::\/64$/);
  expect(plan({ enableIPv4: false, enableIPv6: true })).toHaveLength(1);
});

test("gateways keep away from auxiliary addresses and follow the range; empty strings count as absent", () => {
  expect(plan({ config: [{ subnet: "10.1.0.0/24", ipRange: "", gateway: "", auxAddresses: { a: "10.1.0.1" } }] })).toEqual([
    { subnet: "10.1.0.0/24", gateway: "10.1.0.2", auxAddresses: { a: "10.1.0.1" } },
  ]);
  expect(plan({ config: [{ subnet: "10.1.0.0/24", gateway: "10.1.0.254" }] })[0]!.gateway).toBe("10.1.0.254");
});

test("a wish may shadow a route of the host but never another network", () => {
  expect(plan({ config: [{ subnet: "10.1.0.0/24" }], avoid: () => [[block("10.0.0.0/8")]] })).toHaveLength(1);
  expect(() => plan({ config: [{ subnet: "10.1.0.0/24" }], networks: [block("10.0.0.0/8")] })).toThrow("Pool overlaps with other one on this address space");
});

test("a family that is off has no subnets, whatever is asked", () => {
  const config = [{ subnet: "10.1.0.0/24" }, { subnet: "fd00:1::/64" }];
  expect(plan({ config }).map(({ subnet }) => subnet)).toEqual(["10.1.0.0/24"]);
  expect(plan({ config, enableIPv4: false, enableIPv6: true }).map(({ subnet }) => subnet)).toEqual(["fd00:1::/64"]);
});

test("several subnets of a family, each with a gateway; sizes in place of addresses", () => {
  const config = [{ subnet: "10.1.0.0/24" }, { subnet: "10.2.0.0/24", gateway: "10.2.0.9" }, { subnet: "0.0.0.0/28" }];
  expect(plan({ config })).toEqual([
    { subnet: "10.1.0.0/24", gateway: "10.1.0.1" },
    { subnet: "10.2.0.0/24", gateway: "10.2.0.9" },
    { subnet: "172.17.0.0/28", gateway: "172.17.0.1" },
  ]);
  expect(plan({ config: [{ subnet: "::/80" }], enableIPv4: false, enableIPv6: true })[0]!.subnet).toMatch(/\/80$/);
  expect(plan({ config: [{ subnet: "" }] })).toEqual([{ subnet: "172.17.0.0/16", gateway: "172.17.0.1" }]);
  expect(() => plan({ config: [{ subnet: "", gateway: "10.1.0.1" }] })).toThrow("invalid subnet : invalid CIDR block notation");
});

test("no gateway where the driver wants none", () => {
  expect(plan({ withoutGateway: { 4: true, 6: false } })).toEqual([{ subnet: "172.17.0.0/16" }]);
});

test("gateways and auxiliary addresses that can't be had", () => {
  const config = (more: object) => ({ config: [{ subnet: "10.1.0.0/24", ...more }] });
  expect(() => plan(config({ gateway: "10.1.0.0" }))).toThrow("failed to allocate gateway (10.1.0.0): Address already in use");
  expect(() => plan(config({ gateway: "10.1.0.255" }))).toThrow("failed to allocate gateway (10.1.0.255): Address already in use");
  expect(() => plan(config({ gateway: "10.1.0.5", auxAddresses: { a: "10.1.0.5" } }))).toThrow("failed to allocate secondary ip address (a:10.1.0.5)");
});

test("every problem is named at once, in Docker's words", () => {
  const config = [{ subnet: "10.1.0.5/24", ipRange: "10.2.0.0/25", gateway: "10.3.0.1", auxAddresses: { a: "fd00::1" } }];
  expect(() => plan({ config })).toThrow(
    "invalid network config:\ninvalid subnet 10.1.0.5/24: it should be 10.1.0.0/24\n" +
      "invalid ip-range 10.2.0.0/25: parent subnet 10.1.0.0/24 doesn't contain ip-range\n" +
      "invalid gateway 10.3.0.1: parent subnet 10.1.0.0/24 doesn't contain this address\n" +
      "invalid auxiliary address a: parent subnet is an IPv4 block",
  );
  expect(() => plan({ config: [{ subnet: "nonsense" }] })).toThrow("invalid subnet nonsense");
});

test("names and --bip are checked", () => {
  for (const name of ["", " ", "-x", "a/b", " a", "a ", "a\nb", "a\n", "x".repeat(256), "../etc"])
    expect(() => checkName(name)).toThrow(/^invalid (network )?name: /);
  expect(() => parseBip("172.26.0.0/16")).toThrow("--bip");
  expect(() => parseBip("172.26.0.1")).toThrow("--bip");
  expect(parseBip("172.26.0.1/16").subnet).toEqual(block("172.26.0.0/16"));
});
