import { isIPv4, isIPv6 } from "node:net";

/** An IP address as a number, so that ranges and prefixes are arithmetic. */
export interface Address {
  family: 4 | 6;
  value: bigint;
}

/** A block of addresses; `base` has no host bits. */
export interface Subnet {
  family: 4 | 6;
  base: bigint;
  prefixLength: number;
}

const width = (family: 4 | 6): number => (family === 4 ? 32 : 128);

/** Undefined for anything but a plain address; IPv4-mapped IPv6 becomes IPv4, zones are refused. */
export function parseAddress(text: string): Address | undefined {
  if (isIPv4(text)) return { family: 4, value: text.split(".").reduce((sum, part) => sum * 256n + BigInt(part), 0n) };
  if (!isIPv6(text) || text.includes("%")) return undefined;
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  let groups = text;
  if (dotted !== null) {
    const v4 = parseAddress(dotted[2]!);
    if (v4 === undefined) return undefined;
    groups = `${dotted[1]}${(v4.value >> 16n).toString(16)}:${(v4.value & 0xffffn).toString(16)}`;
  }
  const [head, tail] = groups.split("::") as [string, string?];
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const all = tail === undefined ? left : [...left, ...Array<string>(8 - left.length - right.length).fill("0"), ...right];
  const value = all.reduce((sum, part) => sum * 65536n + BigInt(`0x${part}`), 0n);
  return value >> 32n === 0xffffn ? { family: 4, value: value & 0xffffffffn } : { family: 6, value };
}

/** The canonical text (RFC 5952 for IPv6). */
export function formatAddress(address: Address): string {
  // by far the most common: published ports are on it
  if (address.value === 0n) return address.family === 4 ? "0.0.0.0" : "::";
  if (address.family === 4) return [24n, 16n, 8n, 0n].map((shift) => (address.value >> shift) & 255n).join(".");
  const groups = Array.from({ length: 8 }, (_, i) => (address.value >> BigInt(112 - 16 * i)) & 0xffffn);
  let best = { at: -1, length: 1 };
  for (let i = 0; i < 8; i++) {
    let length = 0;
    while (i + length < 8 && groups[i + length] === 0n) length++;
    if (length > best.length) best = { at: i, length };
  }
  const hex = groups.map((g) => g.toString(16));
  if (best.at < 0) return hex.join(":");
  return `${hex.slice(0, best.at).join(":")}::${hex.slice(best.at + best.length).join(":")}`;
}

/** 4 or 16 bytes, network order. */
export function bytesOf(address: Address): Uint8Array {
  const length = address.family === 4 ? 4 : 16;
  if (address.value === 0n) return new Uint8Array(length);
  return Uint8Array.from({ length }, (_, i) => Number((address.value >> BigInt(8 * (length - 1 - i))) & 255n));
}

export function addressFrom(bytes: Uint8Array): Address {
  return { family: bytes.length === 4 ? 4 : 6, value: bytes.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n) };
}

/** The number of addresses of a block. */
export function sizeOf(subnet: Subnet): bigint {
  return 1n << BigInt(width(subnet.family) - subnet.prefixLength);
}

export function subnetOf(address: Address, prefixLength: number): Subnet {
  const host = (1n << BigInt(width(address.family) - prefixLength)) - 1n;
  return { family: address.family, base: address.value & ~host, prefixLength };
}

/** `address/length`; undefined where it isn't one. `address` keeps its host bits. */
export function parsePrefix(text: string): { address: Address; subnet: Subnet } | undefined {
  const match = /^([0-9a-fA-F:.]+)\/(\d{1,3})$/.exec(text);
  if (match === null) return undefined;
  const address = parseAddress(match[1]!);
  const prefixLength = Number(match[2]);
  if (address === undefined || prefixLength > width(address.family)) return undefined;
  return { address, subnet: subnetOf(address, prefixLength) };
}

export function formatSubnet(subnet: Subnet): string {
  return `${formatAddress({ family: subnet.family, value: subnet.base })}/${subnet.prefixLength}`;
}

export function contains(subnet: Subnet, address: Address): boolean {
  return subnet.family === address.family && address.value >= subnet.base && address.value < subnet.base + sizeOf(subnet);
}

export function overlaps(a: Subnet, b: Subnet): boolean {
  return a.family === b.family && a.base < b.base + sizeOf(b) && b.base < a.base + sizeOf(a);
}

/** Docker's way: 02:42 and the IPv4 address. A reused address then keeps its MAC, so that no neighbour's ARP entry is ever stale. */
export function macFor(address: Address): Uint8Array {
  return Uint8Array.of(0x02, 0x42, ...bytesOf(address).slice(-4));
}

/** Six bytes, or undefined. Multicast addresses are refused: no interface takes one. */
export function parseMac(text: string): Uint8Array | undefined {
  if (!/^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i.test(text)) return undefined;
  const bytes = Uint8Array.from(text.split(/[:-]/), (part) => parseInt(part, 16));
  return (bytes[0]! & 1) === 0 ? bytes : undefined;
}

export function formatMac(bytes: Uint8Array): string {
  return Buffer.from(bytes)
    .toString("hex")
    .replace(/(..)(?!$)/g, "$1:");
}
