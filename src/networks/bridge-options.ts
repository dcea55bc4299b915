import { parseBool } from "../lib/bool.ts";
import { invalidArgument } from "../lib/errors.ts";
import { type Address, parseAddress } from "../lib/address.ts";
import type { NetworkRecord } from "./types.ts";

/** Docker's keys for the bridge driver (moby daemon/libnetwork/drivers/bridge/labels.go, netlabel). */
export const bridgeOption = {
  name: "com.docker.network.bridge.name",
  icc: "com.docker.network.bridge.enable_icc",
  masquerade: "com.docker.network.bridge.enable_ip_masquerade",
  hostBinding: "com.docker.network.bridge.host_binding_ipv4",
  defaultBridge: "com.docker.network.bridge.default_bridge",
  inhibitIpv4: "com.docker.network.bridge.inhibit_ipv4",
  gatewayMode4: "com.docker.network.bridge.gateway_mode_ipv4",
  gatewayMode6: "com.docker.network.bridge.gateway_mode_ipv6",
  trusted: "com.docker.network.bridge.trusted_host_interfaces",
  mtu: "com.docker.network.driver.mtu",
  interfacePrefix: "com.docker.network.container_iface_prefix",
  hostIpv4: "com.docker.network.host_ipv4",
  hostIpv6: "com.docker.network.host_ipv6",
} as const;

/**
 * How containers and the outside meet. `nat`: under the host's address, and only published ports are reached. `nat-unprotected`: so, but every port
 * of a container's own address is reached, too. `routed`: under the containers' own addresses, published ports alone. `isolated` (of internal
 * networks): the host has no address on the bridge either.
 */
export type GatewayMode = "nat" | "nat-unprotected" | "routed" | "isolated";

/** The options of a bridge network as the driver uses them. */
export interface BridgeOptions {
  name: string;
  icc: boolean;
  masquerade: boolean;
  /** The bridge has no IPv4 address. */
  inhibitIpv4: boolean;
  gatewayMode: { 4: GatewayMode; 6: GatewayMode };
  /** Links of the host from which published ports are reached under the containers' own addresses. */
  trusted: string[];
  /** The address of the host that containers' packets leave with, instead of that of the outgoing link. */
  hostAddress: { 4?: Address; 6?: Address };
  /** Address that ports are published on where none is asked for; undefined: the engine's. */
  hostBinding?: Address;
  mtu?: number;
  interfacePrefix: string;
}

type Options = Record<string, string>;

const unparsable = (key: string, value: string, why: string): Error => invalidArgument(`failed to parse ${key} value: ${value} (${why})`);

function flag(options: Options, key: string, fallback: boolean): boolean {
  const value = options[key];
  return value === undefined ? fallback : parseBool(value, (why) => unparsable(key, value, why));
}

function gatewayMode(options: Options, key: string): GatewayMode {
  const value = options[key] ?? "nat";
  if (value === "nat" || value === "nat-unprotected" || value === "routed" || value === "isolated") return value;
  throw unparsable(key, value, `unknown gateway mode ${value}`);
}

function address(options: Options, key: string, family?: 4 | 6): Address | undefined {
  const value = options[key];
  if (value === undefined || value === "") return undefined;
  const parsed = parseAddress(value);
  if (parsed === undefined) throw unparsable(key, value, "nil ip");
  if (family !== undefined && parsed.family !== family) throw unparsable(key, value, `not an IPv${family} address`);
  return parsed;
}

/** IPv4's least (RFC 791) and IPv6's (RFC 8200): with less the kernel takes no address of the family. */
function mtuOf(options: Options, enableIPv6: boolean): number | undefined {
  const value = options[bridgeOption.mtu];
  if (value === undefined || value === "0") return undefined;
  if (!/^[+-]?\d+$/.test(value)) throw unparsable(bridgeOption.mtu, value, `strconv.Atoi: parsing ${JSON.stringify(value)}: invalid syntax`);
  const mtu = Number(value);
  if (mtu < 68 || mtu > 65535) throw invalidArgument(`invalid MTU number: ${value}`);
  if (enableIPv6 && mtu < 1280) throw invalidArgument(`invalid MTU number: ${value}: IPv6 needs 1280 at least`);
  return mtu;
}

/** The name a link may have in Linux. */
export function isLinkName(name: string): boolean {
  return /^[A-Za-z0-9_.-]{1,15}$/.test(name) && name !== "." && name !== "..";
}

/** Which link a bridge network has. */
export const bridgeNameOf = ({ id, options }: NetworkRecord): string => options[bridgeOption.name] || `br-${id.slice(0, 12)}`;

/** @throws EngineError invalidArgument naming the option that can't be honoured */
export function parseBridgeOptions(network: NetworkRecord): BridgeOptions {
  const { options } = network;
  const name = bridgeNameOf(network);
  if (!isLinkName(name))
    throw invalidArgument(`${bridgeOption.name}: ${JSON.stringify(name)} is not an interface name (at most 15 letters, digits, "_", "." and "-")`);
  const interfacePrefix = options[bridgeOption.interfacePrefix] || "eth";
  if (!isLinkName(`${interfacePrefix}99`))
    throw invalidArgument(`${bridgeOption.interfacePrefix}: ${JSON.stringify(interfacePrefix)} is not an interface name`);
  const trusted = [...new Set((options[bridgeOption.trusted] ?? "").split(":").filter((link) => link !== ""))];
  for (const link of trusted) if (!isLinkName(link)) throw invalidArgument(`${bridgeOption.trusted}: ${JSON.stringify(link)} is not an interface name`);
  const result: BridgeOptions = {
    name,
    icc: flag(options, bridgeOption.icc, true),
    masquerade: flag(options, bridgeOption.masquerade, true),
    inhibitIpv4: flag(options, bridgeOption.inhibitIpv4, false),
    gatewayMode: { 4: gatewayMode(options, bridgeOption.gatewayMode4), 6: gatewayMode(options, bridgeOption.gatewayMode6) },
    trusted,
    hostAddress: {},
    interfacePrefix,
  };
  if (!network.internal && (result.gatewayMode[4] === "isolated" || result.gatewayMode[6] === "isolated"))
    throw invalidArgument("gateway mode 'isolated' can only be used for an internal network");
  const [host4, host6] = [address(options, bridgeOption.hostIpv4, 4), address(options, bridgeOption.hostIpv6, 6)];
  if (host4 !== undefined) result.hostAddress[4] = host4;
  if (host6 !== undefined) result.hostAddress[6] = host6;
  const mtu = mtuOf(options, network.enableIPv6);
  if (mtu !== undefined) result.mtu = mtu;
  const binding = address(options, bridgeOption.hostBinding);
  if (binding !== undefined) result.hostBinding = binding;
  return result;
}
