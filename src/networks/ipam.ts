import { conflict, invalidArgument } from "../lib/errors.ts";
import { type Address, contains, formatAddress, formatSubnet, overlaps, parsePrefix, sizeOf, type Subnet } from "../lib/address.ts";

/** A block that is cut into subnets of one size. */
export interface PoolOption {
  base: string;
  /** Prefix length of the subnets. */
  size: number;
}

/** Docker's own defaults (moby daemon/libnetwork/ipamutils), so that addresses are where people expect them. */
export const defaultPools: readonly PoolOption[] = [
  { base: "172.17.0.0/16", size: 16 },
  { base: "172.18.0.0/16", size: 16 },
  { base: "172.19.0.0/16", size: 16 },
  { base: "172.20.0.0/14", size: 16 },
  { base: "172.24.0.0/14", size: 16 },
  { base: "172.28.0.0/14", size: 16 },
  { base: "192.168.0.0/16", size: 20 },
];

/** The first subnet of the pools that overlaps none of `taken`. @throws EngineError invalidArgument where all are */
export function chooseSubnet(pools: readonly PoolOption[], family: 4 | 6, taken: readonly Subnet[]): Subnet {
  for (const pool of pools) {
    const base = parsePrefix(pool.base)?.subnet;
    if (base === undefined || base.family !== family || pool.size < base.prefixLength) continue;
    const end = base.base + sizeOf(base);
    for (let candidate: Subnet = { family, base: base.base, prefixLength: pool.size }; candidate.base < end;) {
      const obstacle = taken.find((other) => overlaps(other, candidate));
      if (obstacle === undefined) return candidate;
      // jump past the obstacle: a pool may be 2^64 subnets of IPv6
      const step = sizeOf(candidate);
      const past = obstacle.base + sizeOf(obstacle);
      const next = past <= candidate.base + step ? candidate.base + step : ((past + step - 1n) / step) * step;
      candidate = { ...candidate, base: next };
    }
  }
  throw invalidArgument("all predefined address pools have been fully subnetted");
}

/** The addresses of one subnet that are given out. In memory; the rows in the database are the record and the guard. */
export class AddressPool {
  readonly subnet: Subnet;
  readonly #first: bigint;
  readonly #last: bigint;
  readonly #used = new Set<bigint>();
  /** No address below is free. */
  #lowest: bigint;

  /** `range` limits what is chosen, not what may be asked for. */
  constructor(subnet: Subnet, range: Subnet = subnet) {
    this.subnet = subnet;
    const end = subnet.base + sizeOf(subnet);
    const small = sizeOf(subnet) <= 2n; // /31, /32: every address is usable
    const first = subnet.base + (small ? 0n : 1n);
    const last = end - (small || subnet.family === 6 ? 1n : 2n);
    const rangeEnd = range.base + sizeOf(range) - 1n;
    this.#first = range.base > first ? range.base : first;
    this.#last = rangeEnd < last ? rangeEnd : last;
    this.#lowest = this.#first;
  }

  /** Marks an address as taken; false where it was already. */
  reserve(address: Address): boolean {
    if (this.#used.has(address.value)) return false;
    this.#used.add(address.value);
    return true;
  }

  /** The lowest free address, as Docker chooses. @throws EngineError conflict where none is left */
  take(): Address {
    let value = this.#lowest;
    while (value <= this.#last && this.#used.has(value)) value++;
    this.#lowest = value;
    if (value > this.#last) throw conflict(`no available IPv${this.subnet.family} addresses on this network's address pools: ${formatSubnet(this.subnet)}`);
    this.#used.add(value);
    return { family: this.subnet.family, value };
  }

  /** @throws EngineError invalidArgument outside the subnet, conflict where it is taken */
  takeStatic(address: Address): Address {
    if (!contains(this.subnet, address)) throw invalidArgument(`no configured subnet contains IP address ${formatAddress(address)}`);
    if (!this.reserve(address)) throw conflict(`Address already in use: ${formatAddress(address)}`);
    return address;
  }

  free(address: Address): void {
    if (this.#used.delete(address.value) && address.value < this.#lowest && address.value >= this.#first) this.#lowest = address.value;
  }

  get inUse(): number {
    return this.#used.size;
  }
}
