import { formatSubnet, overlaps, parsePrefix } from "../lib/address.ts";

const linkLocal = parsePrefix("fe80::/64")!.subnet;
const multicast = parsePrefix("ff00::/8")!.subnet;

/** Why a block can't be the IPv6 subnet of a bridge, in moby's words (validateIPv6Subnet); undefined: it can. */
export function problemOfIPv6Subnet(text: string): string | undefined {
  const prefix = parsePrefix(text);
  if (prefix?.subnet.family !== 6) return `'${text}' is not a valid IPv6 subnet`;
  if (overlaps(prefix.subnet, multicast)) return `multicast subnet '${text}' is not allowed`;
  // the kernel gives every link an address of fe80::/64
  const clashes = overlaps(prefix.subnet, linkLocal) && formatSubnet(prefix.subnet) !== formatSubnet(linkLocal);
  return clashes ? `'${text}' clashes with the Link-Local prefix 'fe80::/64'` : undefined;
}
