import type { NetworkCheckOptions, NetworkReport } from "./check/types.ts";
import type { EndpointOptions } from "./endpoint-options.ts";
import type { EndpointSettings, PortBinding } from "../oci/container.ts";

export interface NetworkRecord {
  id: string;
  name: string;
  /** bridge, host or null (`none`). */
  driver: string;
  created: string;
  /** `local`, or `global` where that was asked for, which means nothing in a single engine. */
  scope: "local" | "global";
  /** Holds configuration for other networks, and is nothing in the kernel. */
  configOnly?: boolean;
  /** Name of the network that the configuration came from. */
  configFrom?: string;
  internal: boolean;
  attachable: boolean;
  enableIPv4: boolean;
  enableIPv6: boolean;
  ipam: {
    driver: string;
    /** As given: inspect shows none as null, and an empty one as such. */
    options?: Record<string, string>;
    config: { subnet: string; ipRange?: string; gateway?: string; auxAddresses?: Record<string, string>; poolId?: string }[];
    /** The address plugin wants to know the MAC of whom an address is for. */
    requiresMac?: true;
  };
  options: Record<string, string>;
  labels: Record<string, string>;
  /** What the driver noted when it made the network. */
  driverState?: Record<string, string>;
  /** The bridge was there before us (an administrator's): it is never removed, nor anything that is on it. */
  foreign?: boolean;
}

/** What is asked of a new network. */
export type NetworkWish = Omit<Partial<NetworkRecord>, "scope"> & { name: string; scope?: string; ingress?: boolean };

/** How much of a subnet is given out. */
export interface SubnetStatus {
  subnet: string;
  /** Addresses of the network and its broadcast, gateway and auxiliary addresses included. */
  inUse: bigint;
  /** What may still be chosen. */
  available: bigint;
}

/** A published port, as it was really bound. */
export interface PublishedPort {
  proto: "tcp" | "udp" | "sctp";
  containerPort: number;
  hostIp: string;
  /** 0: none; the container's own address is opened (gateway mode `routed`). */
  hostPort: number;
}

/** New ports are held, old ones still lead to the container. Disposed of without a commit it has never been. */
export interface PortChange extends Disposable {
  /** Makes it so; `write` records it elsewhere, in the same transaction. @throws what `write` throws: then nothing has changed */
  commit(write: () => void): void;
}

/** One container on one network; kept until it is released, so that restarts of the engine find it. */
export interface Endpoint extends Omit<EndpointOptions, "interfaceName"> {
  id: string;
  networkId: string;
  networkName: string;
  containerId: string;
  hostInterface: string;
  containerInterface: string;
  macAddress: string;
  ipv4?: string;
  ipv4PrefixLength?: number;
  gateway?: string;
  ipv6?: string;
  ipv6PrefixLength?: number;
  gateway6?: string;
  /** The families whose default route it gives, where it gives one; absent: all it has a gateway for. */
  defaultRoutes?: { 4: boolean; 6: boolean };
  dnsNames: string[];
  /** The container may change its links itself (CAP_NET_ADMIN). */
  ownsLinks?: true;
  /** What the driver notes of it. */
  driverState?: Record<string, string>;
  /** What a driver that is a plugin is told: options of the endpoint, ports that the container exposes and publishes. */
  asked?: { options: Record<string, string>; ports: Record<string, PortBinding[]> };
  ports: PublishedPort[];
}

export interface ConnectOptions {
  containerId: string;
  /** Without the slash. */
  containerName: string;
  hostname: string;
  /** Name or id of the network. */
  network: string;
  settings: EndpointSettings;
  /** Key `80/tcp`, as HostConfig.PortBindings, with exposed ports of `-P` already in it as `[{}]`. Only for the endpoint that publishes. */
  portBindings: Record<string, PortBinding[]>;
  /** DNS servers of the container (HostConfig.Dns), which its resolver on user-defined networks asks instead of the host's. */
  dns?: readonly string[];
  /** Options of its resolv.conf (HostConfig.DnsOptions). */
  dnsOptions?: readonly string[];
  /** It may change its links itself (CAP_NET_ADMIN): what it took away isn't given back. */
  ownsLinks?: boolean;
}

/** A link (`--link`) on the default network: what the container `to` exposes is open to `from`. */
export interface LinkOptions {
  from: string;
  to: string;
  ports: readonly { proto: PublishedPort["proto"]; port: number }[];
}

/**
 * Networks. `allocate` only touches records (and binds host ports, to reserve them): before crun is started.
 * `attach` makes links, addresses and rules inside the namespace: while crun creates. `release` undoes both, in any state.
 */
export interface Networks {
  /** Grows with each change of a network or an endpoint. */
  readonly revision: number;
  list(): NetworkRecord[];
  /** Full id, then name, then unique prefix. @throws EngineError notFound `network x not found` */
  resolve(reference: string): NetworkRecord;
  create(wish: NetworkWish): Promise<NetworkRecord>;
  /** Of each subnet of a network. */
  subnetsOf(networkId: string): SubnetStatus[];
  remove(reference: string): Promise<void>;
  /** Removes networks without endpoints, predefined ones excepted, unless `keep` says otherwise. Returns their names. */
  prune(keep: (network: NetworkRecord) => boolean): Promise<string[]>;
  /** Names of the drivers, sorted. */
  drivers(): string[];
  endpointsOf(networkId: string): Endpoint[];
  endpointsOfContainer(containerId: string): Endpoint[];
  /** A named network namespace without processes, its `lo` up. Returns its path: a promise where it had to be made first. */
  createNamespace(containerId: string): string | Promise<string>;
  /** Names the namespace that `path` leads to, which something else made, as the container's. Returns its file. @throws SysError */
  nameNamespace(containerId: string, path: string): string;
  removeNamespace(containerId: string): Promise<void>;
  /** Address, MAC, ports: recorded in one transaction. Only a network whose driver or addresses are a plugin's makes one wait. @throws EngineError notFound, conflict, invalidArgument; port conflicts say `Bind for 0.0.0.0:80 failed: port is already allocated` */
  allocate(options: ConnectOptions): Endpoint | Promise<Endpoint>;
  /**
   * `allocate`, and `attach` where the container's namespace exists: for containers that are there already.
   * @throws EngineError permissionDenied where the container is on the network already
   */
  connect(options: ConnectOptions): Promise<Endpoint>;
  /** Which of these networks will give a container its default route, and so publish its ports, once it is on all of them. @throws EngineError notFound */
  foreseeDefaultRoute(wanted: readonly { network: string; priority: number }[]): string | undefined;
  /** The opposite of `connect`, committed together with `write`; the default route moves to another of the container's networks. @throws EngineError notFound `container x is not connected to network y` */
  disconnect(containerId: string, network: string, write?: () => void): Promise<void>;
  /**
   * Prepares another set of published ports for a running container. Undefined where it has no network to publish on.
   * @throws EngineError conflict, invalidArgument, as `allocate`: then nothing has changed
   */
  changePorts(containerId: string, change: { remove: readonly PublishedPort[]; add: Record<string, PortBinding[]> }): Promise<PortChange | undefined>;
  /** Where both are on the default network and that keeps its containers apart; else nothing. Until one of them is released. */
  openLink(link: LinkOptions): void;
  closeLink(link: Pick<LinkOptions, "from" | "to">): void;
  /** The container has another name: it answers to it at once, and no longer to the old one. `settings`: as it was connected, by network. Inside a transaction. */
  rename(options: Pick<ConnectOptions, "containerId" | "containerName" | "hostname"> & { settings: Record<string, EndpointSettings> }): void;
  /** Makes it so in the kernel. On failure undoes its own steps and throws. */
  attach(endpoint: Endpoint, namespacePath: string): Promise<void>;
  /** Frees everything the container has: rules at once, addresses and ports, links with the namespace, or soon where others share that. A promise where it has many ports: they go in turns. */
  release(containerId: string, options?: { isShared?: boolean }): void | Promise<void>;
  /** The text of /etc/resolv.conf for a container; `host`: it shares the host's network. */
  resolvConf(options: { host: boolean; endpoints: readonly Endpoint[]; dns: string[]; search: string[]; options: string[] }): string;
  /** The new text of a container's resolv.conf, or undefined where it stays: the first user-defined network brings the resolver, unless somebody changed the file. */
  renewedResolvConf(text: string, options: Parameters<Networks["resolvConf"]>[0]): string | undefined;
  /** What is wrong with networks, on the host and in running containers; mended where asked and safe. Takes up to 2 s where a name server is silent. */
  check(options: NetworkCheckOptions): Promise<NetworkReport>;
  /** Default bridge set up, rules loaded, endpoints of `running` containers kept, all else removed. */
  restore(running: ReadonlySet<string>): Promise<void>;
  /** Engine stops: rules and links stay when containers live on; with none the bridge's rules go. */
  close(options: { containersLive: boolean }): Promise<void>;
}
