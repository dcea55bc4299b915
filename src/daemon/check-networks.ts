import { isIP } from "node:net";
import { invalidArgument } from "../lib/errors.ts";
import { parsePrefix } from "../lib/address.ts";
import { problemOfIPv6Subnet } from "../networks/bridge-subnet.ts";
import { checkDefaultNetwork } from "../networks/default-settings.ts";
import type { DaemonOptions } from "./options.ts";

/** What the settings say of networks, the default one above all; what the host has against it is told when it is set up. @throws EngineError invalidArgument */
export function checkNetworks(options: DaemonOptions): void {
  checkBridge(options);
  const { bip6, fixedCidr, fixedCidrV6, defaultGateway, defaultGatewayV6, mtu, bridgeAcceptFwmark } = options;
  if (bip6 !== "" && parsePrefix(bip6)?.address.family !== 6)
    throw invalidArgument(`invalid CIDR address: ${bip6}: want an IPv6 address of the bridge and its prefix, such as fd00:a::1/64`);
  if (fixedCidr !== "" && parsePrefix(fixedCidr)?.address.family !== 4) throw invalidArgument(`parse fixed-cidr failed: invalid CIDR address: ${fixedCidr}`);
  const problem = fixedCidrV6 === "" ? undefined : problemOfIPv6Subnet(fixedCidrV6);
  if (problem !== undefined) throw invalidArgument(`invalid fixed-cidr-v6: ${problem}`);
  if (defaultGateway !== "" && isIP(defaultGateway) !== 4) throw invalidArgument(`invalid IP address: ${defaultGateway}`);
  if (defaultGatewayV6 !== "" && isIP(defaultGatewayV6) !== 6) throw invalidArgument(`invalid IP address: ${defaultGatewayV6}`);
  if (mtu < 0 || mtu > 65535) throw invalidArgument(`invalid default MTU: ${mtu}`);
  checkDefaultNetwork(options);
  checkMark(bridgeAcceptFwmark);
}

function checkBridge({ bip, ip, bridge }: DaemonOptions): void {
  const [address = "", prefix = ""] = bip.split("/");
  if (bip !== "" && (isIP(address) !== 4 || !/^\d{1,2}$/.test(prefix) || Number(prefix) > 32))
    throw invalidArgument(`invalid CIDR address: ${bip}: want an address of the bridge and its prefix, such as 172.20.0.1/16`);
  if (ip !== "" && isIP(ip) === 0) throw invalidArgument(`invalid IP address: ${ip}`);
  // IFNAMSIZ, and what the kernel refuses in a name
  if (bridge.length > 15 || /[\s/]/.test(bridge))
    throw invalidArgument(`invalid bridge name ${JSON.stringify(bridge)}: want 15 characters at the most, no blanks and slashes`);
}

/** `MARK[/MASK]`, each 32 bits, decimal or with 0x. */
function checkMark(text: string): void {
  if (text === "") return;
  const [mark = "", mask, ...rest] = text.split("/");
  const isWord = (part: string): boolean => /^(0x[0-9a-f]{1,8}|\d{1,10})$/i.test(part) && Number(part) <= 0xffffffff;
  if (!isWord(mark) || rest.length > 0) throw invalidArgument(`invalid firewall mark ${JSON.stringify(mark)}: want MARK or MARK/MASK, 32 bits each`);
  if (mask !== undefined && !isWord(mask)) throw invalidArgument(`invalid firewall mask ${JSON.stringify(mask)}: want MARK or MARK/MASK, 32 bits each`);
}
