import type { NetlinkSocket } from "../kernel/netlink.ts";
import type { Endpoint, NetworkRecord } from "./types.ts";

/** A container's network namespace as drivers see it. */
export interface NamespaceHandle {
  /** Open on the namespace. */
  readonly fd: number;
  /** rtnetlink inside it. */
  readonly route: NetlinkSocket;
}

/** What an endpoint needs in the kernel besides its record. */
export interface AttachOptions {
  /** This endpoint gives the container its default route. */
  defaultRoute: boolean;
}

/**
 * A kind of network. Records, addresses, ports and names are the service's business; a driver makes links. Every driver passes
 * test/contract/network-driver.ts. `validate` comes before anything is made, `attach` undoes its own steps when it fails, and the other
 * verbs may be repeated.
 */
export interface NetworkDriver {
  readonly name: string;
  /** Endpoints have addresses (and the networks subnets). */
  readonly addresses: boolean;
  /** Whether subnets of a family get no gateway unless one is asked for; absent: all have one. Asked before the network has its subnets. */
  withoutGateway?(network: NetworkRecord): { 4: boolean; 6: boolean };
  /** @throws EngineError invalidArgument naming the option */
  validate(network: NetworkRecord): void;
  /** Makes the network exist in the kernel. */
  setUp(network: NetworkRecord): void;
  /** The opposite; without endpoints. */
  tearDown(network: NetworkRecord): Promise<void>;
  attach(network: NetworkRecord, endpoint: Endpoint, namespace: NamespaceHandle, options: AttachOptions): void;
  /** From now on no packet of the endpoint passes. The link itself goes with the container's namespace. */
  detach(network: NetworkRecord, endpoint: Endpoint): void;
  /** After an engine restart: `setUp`, keeps the links of `endpoints` and removes all others of this network. */
  restore(network: NetworkRecord, endpoints: readonly Endpoint[]): void;
}
