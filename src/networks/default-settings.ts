import { type Address, contains, formatAddress, formatSubnet, overlaps, parseAddress, parsePrefix, type Subnet } from "../lib/address.ts";
import { invalidArgument } from "../lib/errors.ts";
import { defaultGatewayName } from "./address-book.ts";
import { bridgeOption, parseBridgeOptions } from "./bridge-options.ts";
import type { NetworkOptions } from "./context.ts";
import { draft } from "./draft.ts";
import { parseBip, planSubnets, poolsOf } from "./network-config.ts";
import type { NetworkRecord } from "./types.ts";

type Block = NetworkRecord["ipam"]["config"][number];

/** What the settings say of the default network. */
export type DefaultSettings = Pick<
  NetworkOptions,
  | ("bridge" | "bip" | "bip6" | "fixedCidr" | "fixedCidrV6" | "defaultGateway" | "defaultGatewayV6")
  | ("ipv6" | "mtu" | "icc" | "ipMasq" | "ip" | "defaultAddressPools" | "engineId")
>;

export interface Wishes {
  /** The bridge's own address and subnet. */
  bridge: { address: Address; subnet: Subnet } | undefined;
  /** Where containers' addresses come from. */
  range: Subnet | undefined;
}

const loopback = parsePrefix("127.0.0.0/8")!.subnet;

export const familiesOf = ({ ipv6 }: Pick<DefaultSettings, "ipv6">): readonly (4 | 6)[] => (ipv6 ? [4, 6] : [4]);

/** All that can be judged of these settings without the host, by the steps of the start. @throws EngineError as it would */
export function checkDefaultNetwork(settings: Omit<DefaultSettings, "engineId">): void {
  const { bridge, ipv6 } = settings;
  if (bridge === "none") return;
  parseBridgeOptions({ ...draft({ name: "bridge" }), enableIPv6: ipv6, options: defaultOptions(settings, bridge === "" ? "bridge" : bridge) });
  for (const family of familiesOf(settings)) {
    const wishes = wishesOf(settings, family);
    // one that is there may have addresses of its own
    if (bridge !== "" && wishes.bridge === undefined) continue;
    const config = asked(wishes);
    const block = plan({ ...settings, engineId: "" }, family, config, [], [[loopback]]);
    if (config !== undefined) withDefaultRoute(settings, family, block);
  }
}

/** Of the default network, whose bridge is called `name`. */
export function defaultOptions({ icc, ipMasq, ip, mtu }: Omit<DefaultSettings, "engineId">, name: string): Record<string, string> {
  return {
    [bridgeOption.defaultBridge]: "true",
    [bridgeOption.icc]: String(icc),
    [bridgeOption.masquerade]: String(ipMasq),
    [bridgeOption.hostBinding]: ip === "" ? "0.0.0.0" : ip,
    [bridgeOption.name]: name,
    [bridgeOption.mtu]: String(mtu),
  };
}

/** `present`: the bridge's address where no setting names one. @throws EngineError invalidArgument where they contradict each other */
export function wishesOf(
  settings: Omit<DefaultSettings, "engineId">,
  family: 4 | 6,
  present: (range: Subnet | undefined) => Wishes["bridge"] = () => undefined,
): Wishes {
  const [bip, bipFlag] = family === 4 ? [settings.bip, "bip" as const] : [settings.bip6, "bip6" as const];
  const [fixed, fixedFlag] = family === 4 ? [settings.fixedCidr, "fixed-cidr"] : [settings.fixedCidrV6, "fixed-cidr-v6"];
  const range = fixed === "" ? undefined : parsePrefix(fixed)?.subnet;
  const bridge = bip !== "" ? parseBip(bip, bipFlag) : present(range);
  if (range !== undefined && bridge !== undefined && (!overlaps(bridge.subnet, range) || range.prefixLength < bridge.subnet.prefixLength))
    throw invalidArgument(`--${fixedFlag} ${fixed} is outside the subnet ${formatSubnet(bridge.subnet)} of the default bridge`);
  return { bridge, range };
}

/** The block that the wishes ask for; undefined: any. */
export function asked({ bridge, range }: Wishes): Block | undefined {
  const subnet = bridge?.subnet ?? range;
  if (subnet === undefined) return undefined;
  return {
    subnet: formatSubnet(subnet),
    ...(bridge !== undefined && { gateway: formatAddress(bridge.address) }),
    ...(range !== undefined && { ipRange: formatSubnet(range) }),
  };
}

/** The block whole, chosen where there is none. @throws EngineError invalidArgument, permissionDenied */
export function plan(
  settings: Pick<DefaultSettings, "defaultAddressPools" | "engineId">,
  family: 4 | 6,
  config: Block | undefined,
  networks: readonly Subnet[],
  use: readonly (readonly Subnet[])[] = [[]],
): Block {
  return planSubnets({
    config: config === undefined ? [] : [config],
    enableIPv4: family === 4,
    enableIPv6: family === 6,
    pools: poolsOf({ options: settings }),
    networks,
    avoid: () => use,
  })[0]!;
}

/** The block with containers' default route, where the settings name one. @throws EngineError invalidArgument where it lies outside */
export function withDefaultRoute(settings: Omit<DefaultSettings, "engineId">, family: 4 | 6, block: Block): Block {
  const { subnet } = parsePrefix(block.subnet)!;
  const [gateway, flag] = family === 4 ? [settings.defaultGateway, "default-gateway"] : [settings.defaultGatewayV6, "default-gateway-v6"];
  if (gateway === "") return block;
  const address = parseAddress(gateway);
  if (address === undefined || !contains(subnet, address))
    throw invalidArgument(`--${flag} ${gateway} is outside the subnet ${block.subnet} of the default bridge`);
  return { ...block, auxAddresses: { [defaultGatewayName[family]]: formatAddress(address) } };
}
