import { createHash } from "node:crypto";
import { invalidArgument, permissionDenied } from "../lib/errors.ts";
import { type Address, formatAddress, formatSubnet, parsePrefix, sizeOf, type Subnet } from "../lib/address.ts";

/** A block that is cut into subnets of one size. */
export interface PoolOption {
  base: string;
  /** Prefix length of the subnets. */
  size: number;
}

/**
 * Docker's own defaults (moby daemon/libnetwork/ipamutils), so that addresses are where people expect them; after these 31 networks, where dockerd
 * gives up, smaller blocks follow: of what Docker leaves of 172.16.0.0/12, then of 10.0.0.0/8.
 */
export const defaultPools: readonly PoolOption[] = [
  { base: "172.17.0.0/16", size: 16 },
  { base: "172.18.0.0/16", size: 16 },
  { base: "172.19.0.0/16", size: 16 },
  { base: "172.20.0.0/14", size: 16 },
  { base: "172.24.0.0/14", size: 16 },
  { base: "172.28.0.0/14", size: 16 },
  { base: "192.168.0.0/16", size: 20 },
  { base: "172.16.0.0/16", size: 24 },
  { base: "10.0.0.0/8", size: 24 },
];

/**
 * The pool of automatic IPv6 subnets where the settings name none: the unique local prefix (RFC 4193) that follows from the engine's id, as Docker
 * has it since 27, so that an engine's networks share 48 bits and two engines' hardly ever do.
 */
export function localPool(engineId: string): PoolOption {
  const global = BigInt(`0x${createHash("sha256").update(engineId).digest("hex").slice(6, 16)}`);
  return { base: formatSubnet({ family: 6, base: (0xfdn << 120n) | (global << 80n), prefixLength: 48 }), size: 64 };
}

/** What a new subnet must lie in and what it must keep away from. */
export interface SubnetSearch {
  pools: readonly PoolOption[];
  family: 4 | 6;
  /** Prefix length; undefined: that of the pool. */
  size?: number;
  taken: readonly Subnet[];
}

/** The first subnet of the pools that overlaps none of `taken`, or undefined. */
function firstFree({ pools, family, size, taken }: SubnetSearch): Subnet | undefined {
  const obstacles = taken.filter((other) => other.family === family).sort((a, b) => (a.base < b.base ? -1 : a.base > b.base ? 1 : 0));
  for (const pool of pools) {
    const base = parsePrefix(pool.base)?.subnet;
    const prefixLength = size ?? pool.size;
    if (base === undefined || base.family !== family || prefixLength < base.prefixLength) continue;
    const step = 1n << BigInt((family === 4 ? 32 : 128) - prefixLength);
    let candidate = base.base;
    for (const obstacle of obstacles) {
      const past = obstacle.base + sizeOf(obstacle);
      if (past <= candidate) continue;
      if (obstacle.base >= candidate + step) break;
      candidate = ((past + step - 1n) / step) * step;
    }
    if (candidate + step <= base.base + sizeOf(base)) return { family, base: candidate, prefixLength };
  }
  return undefined;
}

/**
 * A subnet that overlaps none of `taken` nor, if that is possible, of the first list of `avoid`, or else of the next.
 * @throws EngineError invalidArgument where all are in use
 */
export function chooseSubnet(search: SubnetSearch, avoid: readonly (readonly Subnet[])[]): Subnet {
  if (search.size !== undefined && !search.pools.some(({ base }) => fits(base, search))) throw invalidArgument("invalid address pool");
  for (const more of avoid) {
    const found = firstFree({ ...search, taken: [...search.taken, ...more] });
    if (found !== undefined) return found;
  }
  throw invalidArgument("all predefined address pools have been fully subnetted");
}

function fits(pool: string, { family, size = 0 }: SubnetSearch): boolean {
  const subnet = parsePrefix(pool)?.subnet;
  return subnet?.family === family && subnet.prefixLength <= size;
}

/** The addresses of one subnet that are given out. In memory; the rows in the database are the record and the guard. */
export class AddressPool {
  readonly subnet: Subnet;
  readonly #first: bigint;
  readonly #last: bigint;
  readonly #used = new Set<bigint>();
  /** No address below is free. */
  #lowest: bigint;

  /** `range`, a part of the subnet, limits what is chosen, not what may be asked for. */
  constructor(subnet: Subnet, range: Subnet = subnet) {
    this.subnet = subnet;
    const end = subnet.base + sizeOf(subnet);
    const pointToPoint = subnet.family === 4 && subnet.prefixLength >= 31; // RFC 3021: every address is usable
    if (!pointToPoint) this.#used.add(subnet.base); // the network's address, or that of any router (RFC 4291, 2.6.1)
    if (!pointToPoint && subnet.family === 4) this.#used.add(end - 1n); // broadcast
    this.#first = range.base;
    this.#last = range.base + sizeOf(range) - 1n;
    this.#lowest = this.#first;
  }

  /** Marks an address as taken; false where it was already. */
  reserve(address: Address): boolean {
    if (this.#used.has(address.value)) return false;
    this.#used.add(address.value);
    return true;
  }

  /** The lowest free address, as Docker chooses; undefined where none is left. */
  take(): Address | undefined {
    let value = this.#lowest;
    while (value <= this.#last && this.#used.has(value)) value++;
    this.#lowest = value;
    if (value > this.#last) return undefined;
    this.#used.add(value);
    return { family: this.subnet.family, value };
  }

  /** @throws EngineError permissionDenied, as Docker has it, where it is taken */
  takeStatic(address: Address): Address {
    if (!this.reserve(address)) throw permissionDenied(`Address already in use: ${formatAddress(address)}`);
    return address;
  }

  free(address: Address): void {
    if (this.#used.delete(address.value) && address.value < this.#lowest && address.value >= this.#first) this.#lowest = address.value;
  }

  /** How many are taken, and how many may still be chosen. */
  get status(): { inUse: bigint; available: bigint } {
    const inRange = [...this.#used].filter((value) => value >= this.#first && value <= this.#last).length;
    return { inUse: BigInt(this.#used.size), available: this.#last - this.#first + 1n - BigInt(inRange) };
  }
}
