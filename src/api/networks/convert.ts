import type { Endpoint, NetworkRecord } from "../../networks/types.ts";
import type { NetworkInspect } from "../types/networks.ts";
import { gateFields, type ApiVersion, type FieldGate } from "../versions.ts";

const gates: FieldGate[] = [{ path: "EnableIPv4", since: 48 }];

/** Without `endpoints` as the list shows it: until 1.51 with an empty map of containers. */
export function toNetwork(record: NetworkRecord, context: { api: ApiVersion; endpoints?: Endpoint[]; nameOf(container: string): string }): NetworkInspect {
  const { api, endpoints, nameOf } = context;
  const { ipam } = record;
  const inspect: NetworkInspect = {
    Name: record.name,
    Id: record.id,
    Created: record.created,
    Scope: record.scope,
    Driver: record.driver,
    EnableIPv4: record.enableIPv4,
    EnableIPv6: record.enableIPv6,
    IPAM: {
      Driver: ipam.driver,
      Options: Object.keys(ipam.options).length === 0 ? null : ipam.options,
      Config: ipam.config.map(({ subnet, ipRange, gateway, auxAddresses }) => ({
        Subnet: subnet,
        ...(ipRange === undefined ? {} : { IPRange: ipRange }),
        ...(gateway === undefined ? {} : { Gateway: gateway }),
        ...(auxAddresses === undefined ? {} : { AuxiliaryAddresses: auxAddresses }),
      })),
    },
    Internal: record.internal,
    Attachable: record.attachable,
    Ingress: false,
    ConfigFrom: { Network: "" },
    ConfigOnly: false,
    ...(endpoints === undefined && api >= 52
      ? {}
      : { Containers: Object.fromEntries((endpoints ?? []).map((each) => [each.containerId, toAttached(each, nameOf)])) }),
    Options: record.options,
    Labels: record.labels,
  };
  return gateFields(inspect, gates, api);
}

function toAttached(endpoint: Endpoint, nameOf: (container: string) => string): NonNullable<NetworkInspect["Containers"]>[string] {
  const address = (ip: string | undefined, length: number | undefined): string => (ip === undefined || ip === "" ? "" : `${ip}/${length ?? 0}`);
  return {
    Name: nameOf(endpoint.containerId),
    EndpointID: endpoint.id,
    MacAddress: endpoint.macAddress,
    IPv4Address: address(endpoint.ipv4, endpoint.ipv4PrefixLength),
    IPv6Address: address(endpoint.ipv6, endpoint.ipv6PrefixLength),
  };
}
