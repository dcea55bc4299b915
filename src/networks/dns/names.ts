import { type Address, bytesOf, parseAddress } from "../../lib/address.ts";
import { isNameable } from "./message.ts";
import type { NamedEndpoint } from "./types.ts";

interface Entry extends Omit<NamedEndpoint, "names" | "addresses"> {
  names: string[];
  /** What PTR says. */
  canonical: string | undefined;
  /** 4 and 16 bytes. */
  addresses: Uint8Array[];
  /** Of the network's name, in lower case. */
  suffix: string;
}

interface Network {
  byName: Map<string, Set<Entry>>;
  byAddress: Map<string, Entry>;
}

/** Where a container's other questions go. */
export interface Outside {
  /** It is on a network that leads outside: the host's servers may be asked for it. */
  external: boolean;
  /** Servers of its own; empty: the host's. They are asked from within its network. */
  servers: readonly string[];
  /** `ndots` was set: names without a dot aren't asked for outside. */
  ndots: boolean;
}

const keyOfAddress = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

/** The names of all networks, as each container sees them: those of its own. A copy of the records that follows them change by change. */
export class Names {
  readonly #entries = new Map<string, Entry>();
  readonly #networks = new Map<string, Network>();
  readonly #byContainer = new Map<string, Entry[]>();

  /** Adds an endpoint, or puts it in the place of what it was. */
  put(endpoint: NamedEndpoint): void {
    this.remove(endpoint.id);
    const entry: Entry = {
      ...endpoint,
      names: [...new Set(endpoint.names.map((name) => name.toLowerCase()))],
      canonical: endpoint.names.find(isNameable),
      addresses: endpoint.addresses.flatMap((text) => {
        const address = parseAddress(text);
        return address === undefined ? [] : [bytesOf(address)];
      }),
      suffix: endpoint.networkName.toLowerCase(),
    };
    this.#entries.set(entry.id, entry);
    this.#byContainer.set(entry.containerId, [...(this.#byContainer.get(entry.containerId) ?? []), entry].sort(byPrecedence));
    const network = this.#networks.get(entry.networkId) ?? { byName: new Map<string, Set<Entry>>(), byAddress: new Map<string, Entry>() };
    this.#networks.set(entry.networkId, network);
    for (const name of entry.names) {
      const set = network.byName.get(name);
      if (set === undefined) network.byName.set(name, new Set([entry]));
      else set.add(entry);
    }
    for (const address of entry.addresses) network.byAddress.set(keyOfAddress(address), entry);
  }

  remove(id: string): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#entries.delete(id);
    const rest = (this.#byContainer.get(entry.containerId) ?? []).filter((other) => other.id !== id);
    if (rest.length > 0) this.#byContainer.set(entry.containerId, rest);
    else this.#byContainer.delete(entry.containerId);
    const network = this.#networks.get(entry.networkId)!;
    for (const name of entry.names) {
      const set = network.byName.get(name)!;
      set.delete(entry);
      if (set.size === 0) network.byName.delete(name);
    }
    for (const address of entry.addresses) {
      const key = keyOfAddress(address);
      if (network.byAddress.get(key) === entry) network.byAddress.delete(key);
    }
    if (network.byName.size === 0 && network.byAddress.size === 0) this.#networks.delete(entry.networkId);
  }

  /**
   * Addresses behind a name, in both families; undefined where no container has it. As Docker looks it up: on each of the container's networks in
   * their order of precedence, its own links first, then `name.network`; the first network that knows the name has the answer.
   */
  addressesOf(containerId: string, asked: string): Uint8Array[] | undefined {
    const own = this.#byContainer.get(containerId);
    if (own === undefined) return undefined;
    const whole = asked.toLowerCase();
    for (let dot = whole.length; dot > 0; dot = whole.lastIndexOf(".", dot - 1)) {
      const name = whole.slice(0, dot);
      const suffix = whole.slice(dot + 1);
      const networks = dot === whole.length ? own : own.filter((entry) => entry.suffix === suffix);
      const found = this.#linked(networks, name) ?? this.#named(networks, name);
      if (found !== undefined) return [...found].flatMap((entry) => entry.addresses);
    }
    return undefined;
  }

  #linked(networks: readonly Entry[], alias: string): Set<Entry> | undefined {
    for (const { networkId, links } of networks) {
      const target = links !== undefined && Object.hasOwn(links, alias) ? links[alias] : undefined;
      const found = target === undefined ? undefined : this.#networks.get(networkId)?.byName.get(target);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #named(networks: readonly Entry[], name: string): Set<Entry> | undefined {
    for (const { networkId, links } of networks) {
      if (links !== undefined && Object.hasOwn(links, name)) continue;
      const found = this.#networks.get(networkId)?.byName.get(name);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** `container.network` of the container with the address, on a network of the asker's. */
  nameOf(containerId: string, address: Address): string | undefined {
    const key = keyOfAddress(bytesOf(address));
    for (const { networkId } of this.#byContainer.get(containerId) ?? []) {
      const owner = this.#networks.get(networkId)?.byAddress.get(key);
      const name = owner?.canonical === undefined ? "" : `${owner.canonical}.${owner.networkName}`;
      if (isNameable(name)) return name;
    }
    return undefined;
  }

  outside(containerId: string): Outside {
    const own = this.#byContainer.get(containerId) ?? [];
    return {
      external: own.some((entry) => entry.external),
      servers: own.find((entry) => entry.servers.length > 0)?.servers ?? [],
      ndots: own.some((entry) => entry.ndots),
    };
  }
}

/** Docker's order of a container's networks (moby libnetwork sandbox.go, Endpoint.Less): priority, outward ones, those with more gateways, the name. */
function byPrecedence(a: Entry, b: Entry): number {
  const order = b.priority - a.priority || Number(b.external) - Number(a.external) || b.gateways - a.gateways;
  return order !== 0 ? order : a.networkName < b.networkName ? -1 : 1;
}
