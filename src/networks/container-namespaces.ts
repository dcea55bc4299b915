import { closeSync, mkdirSync, openSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type NamespaceDoor, removeNamespaceFile } from "../kernel/namespace.ts";
import { NetlinkSocket } from "../kernel/netlink.ts";
import { setLinkUp } from "../kernel/netlink-route.ts";
import type { NamespaceHandle } from "./driver.ts";

/** Of the first link of every namespace. */
const LOOPBACK_INDEX = 1;

/**
 * The containers' network namespaces: one file each, named by the container's id. The rtnetlink socket that was opened with a namespace is kept
 * until its links are made, which saves a visit. (A pool would hold ready namespaces on other files and move the mount: nothing else changes.)
 */
export class ContainerNamespaces {
  readonly #door: NamespaceDoor;
  readonly #folder: string;
  readonly #fresh = new Map<string, NetlinkSocket>();

  constructor(door: NamespaceDoor, folder: string) {
    this.#door = door;
    this.#folder = folder;
  }

  path(containerId: string): string {
    return join(this.#folder, containerId);
  }

  /** @throws SysError */
  create(containerId: string): string {
    const path = this.path(containerId);
    mkdirSync(this.#folder, { recursive: true, mode: 0o711 });
    removeNamespaceFile(path); // left by a start that was killed
    const socket = new NetlinkSocket(this.#door.create(path).routeSocket);
    try {
      socket.request(setLinkUp({ index: LOOPBACK_INDEX }));
    } catch (error) {
      socket[Symbol.dispose]();
      removeNamespaceFile(path);
      throw error;
    }
    this.#fresh.set(path, socket);
    return path;
  }

  remove(containerId: string): void {
    const path = this.path(containerId);
    this.forget(containerId);
    removeNamespaceFile(path);
  }

  /** Closes the socket that would keep the namespace alive. */
  forget(containerId: string): void {
    const path = this.path(containerId);
    this.#fresh.get(path)?.[Symbol.dispose]();
    this.#fresh.delete(path);
  }

  /** A handle on any namespace; dispose it soon: it keeps the namespace alive. @throws SysError */
  open(path: string): NamespaceHandle & Disposable {
    const fd = openSync(path, "r");
    try {
      const kept = this.#fresh.get(path);
      const route = kept ?? new NetlinkSocket(this.#door.netlinkSocket(fd, "route"));
      const close = (): void => {
        closeSync(fd);
        if (kept === undefined) route[Symbol.dispose]();
      };
      return { fd, route, [Symbol.dispose]: close };
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** Removes the namespaces of all but `kept`, ids of containers. */
  sweep(kept: ReadonlySet<string>): void {
    let names: string[];
    try {
      names = readdirSync(this.#folder);
    } catch (error) {
      if ((error as { code?: string }).code === "ENOENT") return;
      throw error;
    }
    for (const name of names) if (!kept.has(name)) this.remove(name);
  }

  closeAll(): void {
    for (const socket of this.#fresh.values()) socket[Symbol.dispose]();
    this.#fresh.clear();
  }
}
