import { contains, formatAddress, formatSubnet, overlaps, parseAddress, parsePrefix, type Subnet } from "../lib/address.ts";
import { EngineError, internal, invalidArgument, messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import type { Plugins } from "../plugins/types.ts";
import type { GivenAddress } from "./address-book.ts";
import type { NetworkRecord } from "./types.ts";

type Config = NetworkRecord["ipam"]["config"][number];

/** How long a plugin may take for one call while a network or a container waits for an address. */
const callMs = 30_000;
/** Pools that overlap with what is there are asked for again this often. */
const mostTries = 64;
const gatewayKey = "com.docker.network.gateway";

/** Subnets and addresses that plugins give out (moby daemon/libnetwork/ipams/remote). */
export interface RemoteIpam {
  /** Complete blocks for a network to be, none of which overlaps with `taken` unless it was asked for. Notes in `network.ipam` what the plugin needs. */
  requestPools(network: NetworkRecord, withoutGateway: { 4: boolean; 6: boolean }, taken: readonly Subnet[]): Promise<Config[]>;
  /** Never throws: what can't be given back is the plugin's to find. */
  releasePools(network: NetworkRecord): Promise<void>;
  take(network: NetworkRecord, family: 4 | 6, wanted: string | undefined, mac: string): Promise<GivenAddress | undefined>;
  free(network: NetworkRecord, address: string): Promise<void>;
}

const textOf = (value: unknown): string => (typeof value === "string" ? value : "");

export function createRemoteIpam(plugins: Plugins, log: Logger): RemoteIpam {
  const call = async (network: NetworkRecord, verb: string, request: object): Promise<Record<string, unknown>> => {
    const plugin = await plugins.get(network.ipam.driver, "IpamDriver");
    return await plugin.call(`IpamDriver.${verb}`, request, { deadlineMs: callMs });
  };

  /** Whether it wants to know MACs: older plugins aren't asked in vain. */
  const learn = async (network: NetworkRecord): Promise<string> => {
    try {
      const { RequiresMACAddress } = await call(network, "GetCapabilities", {});
      if (RequiresMACAddress === true) network.ipam.requiresMac = true;
    } catch (error) {
      if (!(error instanceof EngineError) || error.kind !== "internal") throw error;
    }
    const spaces = await call(network, "GetDefaultAddressSpaces", {});
    return textOf(spaces[network.scope === "global" ? "GlobalDefaultAddressSpace" : "LocalDefaultAddressSpace"]);
  };

  const requestAddress = async (network: NetworkRecord, PoolID: string, Address: string, Options: Record<string, string>): Promise<GivenAddress> => {
    const answer = await call(network, "RequestAddress", { PoolID, Address, Options });
    const prefix = parsePrefix(textOf(answer["Address"]));
    if (prefix === undefined) throw internal(`plugin ${network.ipam.driver} gave no address but ${JSON.stringify(answer["Address"])?.slice(0, 100)}`);
    return { address: prefix.address, prefixLength: prefix.subnet.prefixLength };
  };

  const releasePool = async (network: NetworkRecord, PoolID: string): Promise<void> => {
    try {
      await call(network, "ReleasePool", { PoolID });
    } catch (error) {
      log.warn("giving an address pool back", { network: network.name, plugin: network.ipam.driver, error: messageOf(error) });
    }
  };

  /** One pool that overlaps with none of `taken`; those that do are held until there is one, so that none of them comes again. */
  const requestPool = async (
    network: NetworkRecord,
    space: string,
    config: Config,
    family: 4 | 6,
    taken: readonly Subnet[],
  ): Promise<{ config: Config; data: unknown }> => {
    const held: string[] = [];
    try {
      for (let tries = 0; tries < mostTries; tries++) {
        const request = { AddressSpace: space, Pool: config.subnet, SubPool: config.ipRange ?? "", Options: network.ipam.options ?? {}, V6: family === 6 };
        const answer = await call(network, "RequestPool", request);
        const poolId = textOf(answer["PoolID"]);
        const subnet = parsePrefix(textOf(answer["Pool"]))?.subnet;
        if (poolId !== "") held.push(poolId);
        if (poolId === "" || poolId.length > 4096 || subnet?.family !== family || subnet.prefixLength === 0)
          throw internal(`plugin ${network.ipam.driver} gave no IPv${family} pool but ${JSON.stringify(answer["Pool"])?.slice(0, 100)}`);
        if (taken.some((other) => overlaps(other, subnet))) {
          if (config.subnet !== "") throw invalidArgument("invalid pool request: Pool overlaps with other one on this address space");
          continue;
        }
        held.pop();
        return { config: { ...config, subnet: formatSubnet(subnet), poolId }, data: answer["Data"] };
      }
      throw invalidArgument(`plugin ${network.ipam.driver} has only pools that overlap with other networks`);
    } finally {
      for (const poolId of held) await releasePool(network, poolId);
    }
  };

  /** The gateway asked for, the one that came with the pool, or one of the pool's addresses; auxiliary addresses are nobody's. */
  const complete = async (network: NetworkRecord, { config, data }: { config: Config; data: unknown }, skip: boolean): Promise<Config> => {
    const poolId = config.poolId ?? "";
    const offered = parsePrefix(textOf(((data ?? {}) as Record<string, unknown>)[gatewayKey]))?.address;
    let gateway = config.gateway ?? (offered && formatAddress(offered));
    if (config.gateway !== undefined || (offered === undefined && !skip)) {
      gateway = formatAddress((await requestAddress(network, poolId, config.gateway ?? "", { RequestAddressType: gatewayKey })).address);
    }
    for (const address of Object.values(config.auxAddresses ?? {})) await requestAddress(network, poolId, address, {});
    return { ...config, ...(gateway !== undefined && { gateway }) };
  };

  return {
    async requestPools(network, withoutGateway, taken) {
      const space = await learn(network);
      const made: Config[] = [];
      try {
        for (const family of [4, 6] as const) {
          if (!(family === 4 ? network.enableIPv4 : network.enableIPv6)) continue;
          const asked = network.ipam.config.filter((config) => familyOf(config) === family);
          for (const config of asked.length > 0 ? asked : [{ subnet: "" }]) {
            const others = [...taken, ...made.flatMap(({ subnet }) => parsePrefix(subnet)?.subnet ?? [])];
            const pool = await requestPool(network, space, config, family, others);
            made.push(pool.config);
            made[made.length - 1] = await complete(network, pool, withoutGateway[family]);
          }
        }
        return made;
      } catch (error) {
        for (const { poolId } of made) if (poolId !== undefined) await releasePool(network, poolId);
        throw error;
      }
    },

    async releasePools(network) {
      for (const { poolId, gateway } of network.ipam.config) {
        if (poolId === undefined) continue;
        if (gateway !== undefined) await call(network, "ReleaseAddress", { PoolID: poolId, Address: gateway }).catch(() => {}); // it goes with the pool
        await releasePool(network, poolId);
      }
    },

    async take(network, family, wanted, mac) {
      const address = wanted === undefined || wanted === "" ? undefined : parseAddress(wanted);
      if (wanted && address?.family !== family) throw invalidArgument(`invalid endpoint settings:\ninvalid IPv${family} address: ${wanted}`);
      const pools = network.ipam.config.filter((config) => familyOf(config) === family);
      const fitting = pools.filter(({ subnet }) => address === undefined || contains(parsePrefix(subnet)!.subnet, address));
      if (wanted && fitting.length === 0) throw invalidArgument(`invalid endpoint settings:\nno configured subnet contains IP address ${wanted}`);
      let failure: unknown;
      for (const { subnet, poolId = "", gateway } of fitting) {
        try {
          const given = await requestAddress(
            network,
            poolId,
            address === undefined ? "" : formatAddress(address),
            network.ipam.requiresMac ? { "com.docker.network.endpoint.macaddress": mac } : {},
          );
          if (!contains(parsePrefix(subnet)!.subnet, given.address)) throw internal(`plugin ${network.ipam.driver} gave an address outside ${subnet}`);
          return { ...given, ...(gateway !== undefined && { gateway }) };
        } catch (error) {
          failure = error; // the next pool may have room
        }
      }
      if (failure !== undefined) throw failure;
      return undefined;
    },

    async free(network, text) {
      const address = parseAddress(text);
      const pool = network.ipam.config.find(({ subnet }) => address !== undefined && contains(parsePrefix(subnet)!.subnet, address));
      if (pool?.poolId !== undefined) await call(network, "ReleaseAddress", { PoolID: pool.poolId, Address: text });
    },
  };
}

/** Of what is asked for: by its subnet, or else its gateway. @throws EngineError invalidArgument */
function familyOf({ subnet, gateway }: Config): 4 | 6 {
  if (subnet !== "") {
    const prefix = parsePrefix(subnet);
    if (prefix === undefined) throw invalidArgument(`invalid network config:\ninvalid subnet ${subnet}: invalid CIDR block notation`);
    return prefix.subnet.family;
  }
  return (gateway === undefined ? undefined : parseAddress(gateway)?.family) ?? 4;
}
