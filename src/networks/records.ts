import type { Logger } from "../lib/log.ts";
import { parseRecord } from "../store/damage.ts";
import type { Store } from "../store/store.ts";
import { invalidArgument, notFound } from "../lib/errors.ts";
import type { Endpoint, NetworkRecord, PublishedPort } from "./types.ts";

/** An endpoint's row: what inspect shows and what a restart of the engine needs. */
export interface StoredEndpoint extends Endpoint {
  containerName: string;
  /** Grows with each endpoint made. */
  order: number;
  defaultRoute: boolean;
  /** Names that only this container knows: alias (lower case) to name or id of a container on the same network. */
  links?: Record<string, string>;
  /** DNS servers that the container asked for; they stand in for the host's. */
  dnsServers?: string[];
  /** Its options set `ndots`: names without a dot aren't asked for outside. */
  dnsNdots?: boolean;
}

/** Networks and endpoints, in memory as in the database: reads never touch the disk, writes are rows first. */
export class NetworkRecords {
  readonly #store: Store;
  readonly #networks = new Map<string, NetworkRecord>();
  readonly #endpoints = new Map<string, StoredEndpoint>();
  readonly #byContainer = new Map<string, StoredEndpoint[]>();
  readonly #byNetwork = new Map<string, StoredEndpoint[]>();
  #revision = 0;
  #onEndpoint: ((endpoint: StoredEndpoint, isThere: boolean) => void) | undefined;

  constructor(store: Store, log: Logger) {
    this.#store = store;
    for (const row of store.db.query<{ id: string; name: string; record: string }, []>("SELECT id, name, record FROM networks").all()) {
      const network = parseRecord<NetworkRecord>(row.record, `network ${row.name}`, log);
      if (network !== undefined) this.#networks.set(network.id, network);
      // its name is free for another
      else store.db.query("UPDATE networks SET name = 'unreadable ' || id WHERE id = ?").run(row.id);
    }
    const endpoints = store.db
      .query<{ id: string; network: string; container: string; record: string }, []>("SELECT id, network, container, record FROM endpoints")
      .all();
    const parsed = endpoints.flatMap((row) => {
      const endpoint = parseRecord<StoredEndpoint>(row.record, `endpoint of container ${row.container}`, log);
      if (endpoint !== undefined && this.#networks.has(row.network)) return endpoint;
      // made anew at each start
      store.db.query("DELETE FROM endpoints WHERE id = ?").run(row.id);
      return [];
    });
    for (const endpoint of parsed.sort((a, b) => a.order - b.order)) this.#index(endpoint);
  }

  /** Grows with each change of a network or an endpoint. */
  get revision(): number {
    return this.#revision;
  }

  /** Hears of each endpoint that comes or goes, once that is committed. */
  watchEndpoints(listener: ((endpoint: StoredEndpoint, isThere: boolean) => void) | undefined): void {
    this.#onEndpoint = listener;
  }

  list(): NetworkRecord[] {
    return [...this.#networks.values()];
  }

  byName(name: string): NetworkRecord | undefined {
    return this.list().find((network) => network.name === name);
  }

  byId(id: string): NetworkRecord | undefined {
    return this.#networks.get(id);
  }

  /** Full id, then name, then unique prefix of an id. @throws EngineError notFound, invalidArgument in Docker's words */
  resolve(reference: string): NetworkRecord {
    const exact = this.#networks.get(reference) ?? this.byName(reference);
    if (exact !== undefined) return exact;
    const matches = reference === "" ? [] : this.list().filter((network) => network.id.startsWith(reference));
    if (matches.length > 1) throw invalidArgument(`network ${reference} is ambiguous (${matches.length} matches found based on ID prefix)`);
    if (matches[0] === undefined) throw notFound(`network ${reference} not found`);
    return matches[0];
  }

  saveNetwork(network: NetworkRecord): void {
    this.#store.db
      .query(
        "INSERT INTO networks (id, name, driver, record) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name, driver = excluded.driver, record = excluded.record",
      )
      .run(network.id, network.name, network.driver, JSON.stringify(network));
    this.#store.afterCommit(() => {
      this.#networks.set(network.id, network);
      this.#revision++;
    });
  }

  deleteNetwork(id: string): void {
    this.#store.db.query("DELETE FROM networks WHERE id = ?").run(id);
    this.#store.afterCommit(() => {
      this.#networks.delete(id);
      this.#revision++;
    });
  }

  endpointsOf(networkId: string): StoredEndpoint[] {
    return [...(this.#byNetwork.get(networkId) ?? [])];
  }

  /** In the order in which they were made. */
  endpointsOfContainer(containerId: string): StoredEndpoint[] {
    return [...(this.#byContainer.get(containerId) ?? [])];
  }

  endpoint(id: string): StoredEndpoint | undefined {
    return this.#endpoints.get(id);
  }

  endpoints(): StoredEndpoint[] {
    return [...this.#endpoints.values()];
  }

  /** The `order` of the next endpoint. */
  nextOrder(): number {
    return this.endpoints().reduce((most, endpoint) => Math.max(most, endpoint.order), 0) + 1;
  }

  /** Inside a transaction; memory follows the commit. */
  insertEndpoint(endpoint: StoredEndpoint): void {
    this.#store.db
      .query("INSERT INTO endpoints (id, network, container, ipv4, ipv6, record) VALUES (?, ?, ?, ?, ?, ?)")
      .run(endpoint.id, endpoint.networkId, endpoint.containerId, endpoint.ipv4 ?? null, endpoint.ipv6 ?? null, JSON.stringify(endpoint));
    this.#store.afterCommit(() => this.#index(endpoint));
  }

  /** After a change of what isn't looked up by (the default route). */
  updateEndpoint(endpoint: StoredEndpoint): void {
    this.#store.db.query("UPDATE endpoints SET record = ? WHERE id = ?").run(JSON.stringify(endpoint), endpoint.id);
    this.#revision++;
  }

  /** Inside a transaction; memory follows the commit. */
  changePorts(endpoint: StoredEndpoint, ports: PublishedPort[]): void {
    this.#store.db.query("UPDATE endpoints SET record = ? WHERE id = ?").run(JSON.stringify({ ...endpoint, ports }), endpoint.id);
    this.#store.afterCommit(() => {
      endpoint.ports = ports;
      this.#revision++;
    });
  }

  /** Ids of endpoints that plugins may know and no container has, with what is known of them. */
  elsewhere(): Endpoint[] {
    return this.#store.db
      .query<{ record: string }, []>("SELECT record FROM plugin_endpoints")
      .all()
      .map(({ record }) => JSON.parse(record) as Endpoint);
  }

  noteElsewhere(endpoint: Endpoint): void {
    this.#store.db
      .query("INSERT OR REPLACE INTO plugin_endpoints (id, network, record) VALUES (?, ?, ?)")
      .run(endpoint.id, endpoint.networkId, JSON.stringify(endpoint));
  }

  forgetElsewhere(id: string): void {
    this.#store.db.query("DELETE FROM plugin_endpoints WHERE id = ?").run(id);
  }

  /** Inside a transaction; memory follows the commit. */
  renameEndpoint(endpoint: StoredEndpoint, names: Pick<StoredEndpoint, "containerName" | "dnsNames">): void {
    this.#store.db.query("UPDATE endpoints SET record = ? WHERE id = ?").run(JSON.stringify({ ...endpoint, ...names }), endpoint.id);
    this.#store.afterCommit(() => {
      Object.assign(endpoint, names);
      this.#revision++;
      this.#onEndpoint?.(endpoint, true);
    });
  }

  deleteEndpoint(endpoint: StoredEndpoint): void {
    this.#store.db.query("DELETE FROM endpoints WHERE id = ?").run(endpoint.id);
    this.#store.afterCommit(() => this.#forget(endpoint));
  }

  /** Ports of a container's resolver. */
  resolverOf(containerId: string): { udp: number; tcp: number } | undefined {
    return this.#store.db.query<{ udp: number; tcp: number }, [string]>("SELECT udp, tcp FROM resolvers WHERE container = ?").get(containerId) ?? undefined;
  }

  saveResolver(containerId: string, ports: { udp: number; tcp: number }): void {
    this.#store.db.query("INSERT OR REPLACE INTO resolvers (container, udp, tcp) VALUES (?, ?, ?)").run(containerId, ports.udp, ports.tcp);
  }

  deleteResolver(containerId: string): void {
    this.#store.db.query("DELETE FROM resolvers WHERE container = ?").run(containerId);
  }

  /** Containers that have a resolver's row. */
  resolvers(): string[] {
    return this.#store.db
      .query<{ container: string }, []>("SELECT container FROM resolvers")
      .all()
      .map((row) => row.container);
  }

  #index(endpoint: StoredEndpoint): void {
    this.#revision++;
    this.#endpoints.set(endpoint.id, endpoint);
    for (const [map, key] of this.#maps(endpoint)) {
      const list = map.get(key);
      if (list === undefined) map.set(key, [endpoint]);
      else list.push(endpoint);
    }
    this.#onEndpoint?.(endpoint, true);
  }

  #forget(endpoint: StoredEndpoint): void {
    this.#revision++;
    this.#endpoints.delete(endpoint.id);
    for (const [map, key] of this.#maps(endpoint)) {
      const rest = (map.get(key) ?? []).filter((other) => other.id !== endpoint.id);
      if (rest.length > 0) map.set(key, rest);
      else map.delete(key);
    }
    this.#onEndpoint?.(endpoint, false);
  }

  #maps(endpoint: StoredEndpoint): [Map<string, StoredEndpoint[]>, string][] {
    return [
      [this.#byContainer, endpoint.containerId],
      [this.#byNetwork, endpoint.networkId],
    ];
  }
}
