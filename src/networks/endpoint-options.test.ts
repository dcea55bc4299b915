import { expect, test } from "bun:test";
import { parseEndpointOptions } from "./endpoint-options.ts";

test("what is asked of an endpoint", () => {
  const settings = {
    DriverOpts: {
      "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.accept_ra=2",
      "com.docker.network.endpoint.ifname": "wan0",
      "some.driver": "x",
    },
    GwPriority: 7,
    IPAMConfig: { LinkLocalIPs: ["169.254.1.5", "FE80::0:1"] },
  };
  expect(parseEndpointOptions(settings)).toEqual({
    interfaceName: "wan0",
    sysctls: [
      { path: "net/ipv4/conf/IFNAME/log_martians", value: "1" },
      { path: "net/ipv6/conf/IFNAME/accept_ra", value: "2" },
    ],
    linkLocal: ["169.254.1.5", "fe80::1"],
    gwPriority: 7,
  });
  expect(parseEndpointOptions({})).toEqual({});
});

test.each([
  ["sysctls", "net.ipv4.conf.eth0.forwarding=1", "unrecognised network interface sysctl"],
  ["sysctls", "kernel.IFNAME.x=1", "unrecognised network interface sysctl"],
  ["sysctls", "net.ipv4.conf.IFNAME.forwarding", "invalid network interface sysctl"],
  ["ifname", "a/b", 'invalid interface name "a/b"'],
  ["ifname", "sixteen-letters-", "invalid interface name"],
])("%s %s is refused", (label, value, error) => {
  expect(() => parseEndpointOptions({ DriverOpts: { [`com.docker.network.endpoint.${label}`]: value } })).toThrow(error);
});

test("addresses that are none are refused", () => {
  expect(() => parseEndpointOptions({ IPAMConfig: { LinkLocalIPs: ["x"] } })).toThrow("invalid link-local IP address: x");
});
