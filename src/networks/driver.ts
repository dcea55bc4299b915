import type { NetlinkSocket } from "../kernel/netlink.ts";
import type { Endpoint, NetworkRecord } from "./types.ts";

/** What a verb gives that may have to wait, and mostly doesn't: a promise only where it does, so that nobody waits for a bridge. */
export type Awaitable<T> = T | Promise<T>;

/** A container's network namespace as drivers see it. */
export interface NamespaceHandle {
  /** Open on the namespace. */
  readonly fd: number;
  /** rtnetlink inside it. */
  readonly route: NetlinkSocket;
  /** Its file. */
  readonly path: string;
}

/** What an endpoint needs in the kernel besides its record. */
export interface AttachOptions {
  /** This endpoint gives the container its default route. */
  defaultRoute: boolean;
}

export interface DetachOptions {
  /** Opens the container's namespace, where it is still there. */
  namespace(): (NamespaceHandle & Disposable) | undefined;
  /** The container lives on without the endpoint: its link must go. Else it goes with the namespace. */
  lives: boolean;
}

/**
 * A kind of network. Records, addresses, names and the engine's port rules are the service's business; a driver makes links. Every driver passes
 * test/contract/network-driver.ts. `validate` comes before anything is made, `attach` undoes its own steps when it fails, and the other verbs may be repeated.
 */
export interface NetworkDriver {
  readonly name: string;
  /** Endpoints have links and addresses (and the networks subnets). */
  readonly addresses: boolean;
  /** Who publishes ports: the engine with its rules, the driver itself, or nobody. */
  readonly ports: "engine" | "driver" | "none";
  /** An endpoint's MAC address: made from its IP address, made at random, what the driver says, or none of its own. */
  readonly mac: "address" | "random" | "driver" | "none";
  /** It is asked before a network's record goes, and may refuse. */
  readonly mayRefuse?: true;
  /** Whether subnets of a family get no gateway unless one is asked for; absent: all have one. Asked before the network has its subnets. */
  withoutGateway?(network: NetworkRecord): Awaitable<{ 4: boolean; 6: boolean }>;
  /** Name of the host's end of an endpoint's link, where there is one. */
  hostInterface?(endpointId: string): string;
  /** May set `network.scope`, and note in `network.driverState` what it chose. @throws EngineError invalidArgument naming the option */
  validate(network: NetworkRecord): Awaitable<void>;
  /** Makes the network exist. What it notes in `network.driverState` is kept. */
  setUp(network: NetworkRecord): Awaitable<void>;
  /** What of `tearDown` others must wait for, where nobody needs to for the rest: who removes a network has his answer after this. */
  withdraw?(network: NetworkRecord): Promise<void>;
  /** The opposite; without endpoints. Unless `forGood`, `restore` brings it back. */
  tearDown(network: NetworkRecord, options: { forGood: boolean }): Awaitable<void>;
  /** The endpoint is about to be recorded: a driver that keeps records too may fill in what is missing, or refuse. */
  createEndpoint?(network: NetworkRecord, endpoint: Endpoint): Promise<Partial<Endpoint>>;
  /** The opposite, after `detach`. */
  deleteEndpoint?(network: NetworkRecord, endpoint: Endpoint): Promise<void>;
  attach(network: NetworkRecord, endpoint: Endpoint, namespace: NamespaceHandle, options: AttachOptions): Awaitable<void>;
  /** From now on no packet of the endpoint passes. */
  detach(network: NetworkRecord, endpoint: Endpoint, options: DetachOptions): Awaitable<void>;
  /** From now on the endpoint gives its container the default route, or no longer does. */
  setGateway?(network: NetworkRecord, endpoint: Endpoint, isGateway: boolean): Promise<void>;
  /** After an engine restart: the network is there, with the links of `endpoints` and no others. */
  restore(network: NetworkRecord, endpoints: readonly Endpoint[]): Awaitable<void>;
}
