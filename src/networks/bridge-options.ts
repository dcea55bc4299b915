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
  mtu: "com.docker.network.driver.mtu",
  interfacePrefix: "com.docker.network.container_iface_prefix",
} as const;

/** The options of a bridge network as the driver uses them. */
export interface BridgeOptions {
  name: string;
  icc: boolean;
  masquerade: boolean;
  /** Address that ports are published on where none is asked for; undefined: the engine's. */
  hostBinding?: Address;
  mtu?: number;
  interfacePrefix: string;
}

function flag(options: Record<string, string>, key: string, fallback: boolean): boolean {
  const value = options[key];
  if (value === undefined) return fallback;
  // what Go's strconv.ParseBool takes
  if (/^(1|t|true)$/i.test(value)) return true;
  if (/^(0|f|false)$/i.test(value)) return false;
  throw invalidArgument(`failed to parse ${key} value: ${JSON.stringify(value)} (not a boolean)`);
}

/** The name a link may have in Linux. */
export function isLinkName(name: string): boolean {
  return /^[A-Za-z0-9_.-]{1,15}$/.test(name) && name !== "." && name !== "..";
}

/** @throws EngineError invalidArgument naming the option that can't be honoured */
export function parseBridgeOptions(network: NetworkRecord): BridgeOptions {
  const { options } = network;
  const name = options[bridgeOption.name] ?? `br-${network.id.slice(0, 12)}`;
  if (!isLinkName(name))
    throw invalidArgument(`${bridgeOption.name}: ${JSON.stringify(name)} is not an interface name (at most 15 letters, digits, "_", "." and "-")`);
  const result: BridgeOptions = {
    name,
    icc: flag(options, bridgeOption.icc, true),
    masquerade: flag(options, bridgeOption.masquerade, true),
    interfacePrefix: options[bridgeOption.interfacePrefix] ?? "eth",
  };
  if (flag(options, bridgeOption.inhibitIpv4, false)) throw invalidArgument(`${bridgeOption.inhibitIpv4} is not supported`);
  if (!isLinkName(`${result.interfacePrefix}99`))
    throw invalidArgument(`${bridgeOption.interfacePrefix}: ${JSON.stringify(result.interfacePrefix)} is not an interface name`);
  for (const key of [bridgeOption.gatewayMode4, bridgeOption.gatewayMode6]) {
    if (options[key] !== undefined && options[key] !== "nat") throw invalidArgument(`${key}: ${JSON.stringify(options[key])} is not supported, only "nat"`);
  }
  const mtu = options[bridgeOption.mtu];
  if (mtu !== undefined && mtu !== "0") {
    if (!/^\d{1,5}$/.test(mtu) || Number(mtu) < 68 || Number(mtu) > 65535) throw invalidArgument(`invalid MTU number: ${mtu}`);
    result.mtu = Number(mtu);
  }
  const binding = options[bridgeOption.hostBinding];
  if (binding !== undefined && binding !== "") {
    const address = parseAddress(binding);
    if (address === undefined) throw invalidArgument(`${bridgeOption.hostBinding}: ${JSON.stringify(binding)} is not an IP address`);
    result.hostBinding = address;
  }
  return result;
}
