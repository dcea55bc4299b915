import { formatSubnet, overlaps, parsePrefix } from "../lib/address.ts";

const linkLocal = parsePrefix("fe80::/64")!.subnet;
const multicast = parsePrefix("ff00::/8")!.subnet;

const multicast4 = parsePrefix("224.0.0.0/4")!.subnet;
const loopback4 = parsePrefix("127.0.0.0/8")!.subnet;

/** Why a block can't be a subnet of a bridge; undefined: it can. */
export function problemOfSubnet(text: string): string | undefined {
  if (text.includes(":")) return problemOfIPv6Subnet(text);
  const subnet = parsePrefix(text)?.subnet;
  if (subnet === undefined) return undefined; // refused before
  // dockerd makes such networks; containers can't be started on them, or reach nobody
  if (overlaps(subnet, multicast4)) return `multicast subnet '${text}' is not allowed`;
  return overlaps(subnet, loopback4) ? `loopback subnet '${text}' is not allowed` : undefined;
}

/** Why a block can't be the IPv6 subnet of a bridge, in moby's words (validateIPv6Subnet); undefined: it can. */
export function problemOfIPv6Subnet(text: string): string | undefined {
  const prefix = parsePrefix(text);
  if (prefix?.subnet.family !== 6) return `'${text}' is not a valid IPv6 subnet`;
  if (overlaps(prefix.subnet, multicast)) return `multicast subnet '${text}' is not allowed`;
  // the kernel gives every link an address of fe80::/64
  const clashes = overlaps(prefix.subnet, linkLocal) && formatSubnet(prefix.subnet) !== formatSubnet(linkLocal);
  return clashes ? `'${text}' clashes with the Link-Local prefix 'fe80::/64'` : undefined;
}
