import type { Endpoint, NetworkRecord, SubnetStatus } from "../../networks/types.ts";
import type { NetworkInspect } from "../types/networks.ts";
import { gateFields, type ApiVersion, type FieldGate } from "../versions.ts";

const gates: FieldGate[] = [
  { path: "EnableIPv4", since: 48 },
  { path: "Status", since: 52 },
];

interface Context {
  api: ApiVersion;
  endpoints?: Endpoint[];
  subnets?: SubnetStatus[];
  nameOf(container: string): string;
}

/** ES2027, which TypeScript's library doesn't know yet. */
const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown };
const most = (1n << 64n) - 1n;

/** A count of 64 bits, exact: Go reads it as uint64, which a rounded one overflows. */
const count = (value: bigint): unknown => rawJSON(String(value < most ? value : most));

/** Without `endpoints` as the list shows it: until 1.51 with an empty map of containers. */
export function toNetwork(record: NetworkRecord, context: Context): NetworkInspect {
  const { api, endpoints, subnets, nameOf } = context;
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
      Options: ipam.options ?? null,
      Config: ipam.config.length === 0 ? null : ipam.config.map(toSubnet),
    },
    Internal: record.internal,
    Attachable: record.attachable,
    Ingress: false,
    ConfigFrom: { Network: record.configFrom ?? "" },
    ConfigOnly: record.configOnly ?? false,
    ...(endpoints === undefined && api >= 52
      ? {}
      : { Containers: Object.fromEntries((endpoints ?? []).map((each) => [each.containerId, toAttached(each, nameOf)])) }),
    Options: record.options,
    Labels: record.labels,
    ...(subnets === undefined
      ? {}
      : {
          Status: {
            IPAM: {
              Subnets: Object.fromEntries(
                subnets.map(({ subnet, inUse, available }) => [subnet, { IPsInUse: count(inUse), DynamicIPsAvailable: count(available) }]),
              ),
            },
          },
        }),
  };
  return gateFields(inspect, gates, api);
}

function toSubnet({ subnet, ipRange, gateway, auxAddresses }: NetworkRecord["ipam"]["config"][number]): NonNullable<NetworkInspect["IPAM"]["Config"]>[number] {
  return {
    Subnet: subnet,
    ...(ipRange === undefined ? {} : { IPRange: ipRange }),
    ...(gateway === undefined ? {} : { Gateway: gateway }),
    ...(auxAddresses === undefined ? {} : { AuxiliaryAddresses: auxAddresses }),
  };
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
