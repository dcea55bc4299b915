import type { NamespaceHandle } from "../driver.ts";

/** The resolvers of containers on user-defined networks, one each. */
export interface Resolvers {
  /** Starts the container's resolver if it is on a user-defined network and has none: sockets and rules inside its namespace. @throws SysError */
  ensure(containerId: string, namespace: NamespaceHandle): void;
  /** After a restart of the engine: the same ports again, so that the rules inside still fit. */
  restore(containerId: string): void;
  stop(containerId: string): void;
  /** Resolves when all sockets are closed. */
  close(): Promise<void>;
}

/** What names are made of: one container on one network. */
export interface NamedEndpoint {
  id: string;
  networkId: string;
  networkName: string;
  containerId: string;
  /** In Docker's order: the first gives the PTR record. Empty on the predefined networks, which have no names. */
  names: readonly string[];
  addresses: readonly string[];
  /** Alias to name, in lower case, for this container alone. */
  links?: Record<string, string>;
  /** The network leads outside, and gives a gateway. */
  external: boolean;
  gateways: number;
  priority: number;
  /** DNS servers of the container. */
  servers: readonly string[];
  ndots: boolean;
}

/** What the Worker is told, in this order. */
export type Change =
  | { kind: "put"; endpoint: NamedEndpoint }
  | { kind: "remove"; id: string }
  /** The sockets are the Worker's from now on. */
  | { kind: "serve"; containerId: string; udp: number; tcp: number }
  | { kind: "stop"; containerId: string }
  | { kind: "end" };

/** What starts the Worker: changes come by `port`, and each adds one to `posted`; `wakeup` gets it out of its wait. */
export interface Start {
  port: MessagePort;
  posted: Int32Array;
  wakeup: number;
}

export type Report = { kind: "ended" } | { kind: "failed"; what: string; error: string };
