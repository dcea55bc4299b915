import { conflict, invalidArgument } from "../lib/errors.ts";
import type { EndpointIpamConfig } from "../oci/container.ts";
import { type Address, contains, formatAddress, formatSubnet, parseAddress, parsePrefix, type Subnet } from "../lib/address.ts";
import { AddressPool } from "./ipam.ts";
import type { Endpoint, NetworkRecord, SubnetStatus } from "./types.ts";

/** What an endpoint was given of one family. */
export interface GivenAddress {
  address: Address;
  prefixLength: number;
  /** What containers use as their default route: the subnet's gateway, or another. */
  gateway?: string;
}

interface Block {
  /** Name and id of the network, for what people read. */
  network: string;
  pool: AddressPool;
  gateway?: string;
}

/** An auxiliary address by this name is the containers' default route instead of the bridge's own address (moby's bridge driver; `--default-gateway`). */
export const defaultGatewayName = { 4: "DefaultGatewayIPv4", 6: "DefaultGatewayIPv6" } as const;

/** Which addresses of which network are given out. Filled from the records; the database's UNIQUE columns are the guard behind it. */
export class AddressBook {
  readonly #blocks = new Map<string, Block[]>();

  /** Must be called before anything else is asked about the network; gateways and auxiliary addresses are taken. */
  open(network: NetworkRecord, endpoints: readonly Endpoint[]): void {
    if (network.configOnly === true) return; // its subnets are others'
    const blocks = network.ipam.config.flatMap((config): Block[] => {
      const subnet = parsePrefix(config.subnet)?.subnet;
      if (subnet === undefined) return [];
      const pool = new AddressPool(subnet, config.ipRange === undefined ? subnet : parsePrefix(config.ipRange)?.subnet);
      for (const text of [config.gateway ?? "", ...Object.values(config.auxAddresses ?? {})]) {
        const address = parseAddress(text);
        if (address !== undefined) pool.reserve(address);
      }
      const gateway = config.auxAddresses?.[defaultGatewayName[subnet.family]] ?? config.gateway;
      return [{ network: `${network.name} (${network.id})`, pool, ...(gateway === undefined ? {} : { gateway }) }];
    });
    this.#blocks.set(network.id, blocks);
    for (const endpoint of endpoints) {
      for (const text of [endpoint.ipv4, endpoint.ipv6]) this.#reserve(blocks, text);
    }
  }

  close(networkId: string): void {
    this.#blocks.delete(networkId);
  }

  /** The address asked for, or the lowest free one. Undefined where the network has no subnet of the family. @throws EngineError conflict, permissionDenied, invalidArgument */
  take(networkId: string, family: 4 | 6, wanted: string | undefined): GivenAddress | undefined {
    const blocks = (this.#blocks.get(networkId) ?? []).filter((block) => block.pool.subnet.family === family);
    if (wanted !== undefined && wanted !== "") return this.#takeStatic(blocks, family, wanted);
    for (const block of blocks) {
      const address = block.pool.take();
      if (address !== undefined) return given(block, address);
    }
    if (blocks[0] === undefined) return undefined;
    throw conflict(`no available IPv${family} addresses on this network's address pools: ${blocks[0].network}`);
  }

  status(networkId: string): SubnetStatus[] {
    return (this.#blocks.get(networkId) ?? []).map(({ pool }) => ({ subnet: formatSubnet(pool.subnet), ...pool.status }));
  }

  /** Of all networks. */
  subnets(): Subnet[] {
    return [...this.#blocks.values()].flatMap((blocks) => blocks.map(({ pool }) => pool.subnet));
  }

  free(networkId: string, text: string | undefined): void {
    const address = text === undefined ? undefined : parseAddress(text);
    if (address === undefined) return;
    for (const block of this.#blocks.get(networkId) ?? []) if (contains(block.pool.subnet, address)) block.pool.free(address);
  }

  #takeStatic(blocks: readonly Block[], family: 4 | 6, wanted: string): GivenAddress {
    const address = parseAddress(wanted);
    if (address === undefined || address.family !== family) throw invalidArgument(`invalid endpoint settings:\ninvalid IPv${family} address: ${wanted}`);
    const block = blocks.find((candidate) => contains(candidate.pool.subnet, address));
    if (block === undefined) throw invalidArgument(`invalid endpoint settings:\nno configured subnet contains IP address ${formatAddress(address)}`);
    return given(block, block.pool.takeStatic(address));
  }

  #reserve(blocks: readonly Block[], text: string | undefined): void {
    const address = text === undefined ? undefined : parseAddress(text);
    if (address === undefined) return;
    for (const { pool } of blocks) {
      if (contains(pool.subnet, address) && !pool.reserve(address)) throw conflict(`two endpoints have the address ${text}`);
    }
  }
}

function given(block: Block, address: Address): GivenAddress {
  const result: GivenAddress = { address, prefixLength: block.pool.subnet.prefixLength };
  if (block.gateway !== undefined) result.gateway = block.gateway;
  return result;
}

/** Whether a client asked for certain addresses. */
export function hasStaticAddress(config: EndpointIpamConfig | null | undefined): boolean {
  return (config?.IPv4Address ?? "") !== "" || (config?.IPv6Address ?? "") !== "";
}
