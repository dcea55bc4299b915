import { addressesOf, deleteAddress, findLink } from "../kernel/netlink-route.ts";
import type { NetlinkMessage, NetlinkSocket } from "../kernel/netlink.ts";
import { type Address, addressFrom, formatAddress } from "../lib/address.ts";

/** Link-local IPv6 ones are the kernel's. */
const isOurs = (address: Uint8Array): boolean => address.length === 4 || (address.length === 16 && !(address[0] === 0xfe && (address[1]! & 0xc0) === 0x80));

/** What takes away a bridge's addresses but those of `gateways`: they are of a former subnet of its network. */
export function withoutStale(host: NetlinkSocket, index: number, gateways: readonly { address: Address }[]): NetlinkMessage[] {
  const wanted = new Set(gateways.map((gateway) => formatAddress(gateway.address)));
  return addressesOf(host, index)
    .filter((entry) => isOurs(entry.address) && !wanted.has(formatAddress(addressFrom(entry.address))))
    .map((entry) => deleteAddress(index, entry.address, entry.prefixLength));
}

/** Takes all addresses of a bridge that goes; nothing happens where it is gone. */
export function dropAddresses(host: NetlinkSocket, name: string): void {
  const link = findLink(host, name);
  if (link !== undefined) host.request(...withoutStale(host, link.index, []));
}
