import type { NamespaceHandle } from "../driver.ts";

/** The resolvers of containers on user-defined networks, one each. */
export interface Resolvers {
  /** Starts the container's resolver if it is on a user-defined network and has none: sockets and rules inside its namespace. @throws SysError */
  ensure(containerId: string, namespace: NamespaceHandle): void;
  /** After a restart of the engine: the same ports again, so that the rules inside still fit. */
  restore(containerId: string): void;
  stop(containerId: string): void;
  /** The container's namespace is gone. */
  forget(containerId: string): void;
  close(): void;
}
