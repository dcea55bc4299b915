import { closeSync, mkdirSync, openSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { removeMountedFile } from "../kernel/mount.ts";
import { nameNamespace, type NamespaceDoor } from "../kernel/namespace.ts";
import { NetlinkSocket } from "../kernel/netlink.ts";
import { setLinkUp } from "../kernel/netlink-route.ts";
import type { NamespaceHandle } from "./driver.ts";

/** Of the first link of every namespace. */
const LOOPBACK_INDEX = 1;

/** Made ahead: most of a start's 0.7 ms for a namespace is then behind it. They have no names, so a crash leaves nothing. */
const READY_MOST = 3;
/** Later than the start that took one. */
const REFILL_AFTER_MS = 50;

interface FreshNamespace {
  fd: number;
  route: NetlinkSocket;
}

/**
 * The containers' network namespaces: one file each, named by the container's id. The rtnetlink socket that was opened with a namespace is kept
 * until its links are made, which saves a visit.
 */
export class ContainerNamespaces {
  readonly #door: NamespaceDoor;
  readonly #folder: string;
  readonly #ready: FreshNamespace[] = [];
  readonly #fresh = new Map<string, NetlinkSocket>();
  readonly #removeFile: (path: string) => Promise<void>;
  readonly #onError: (error: unknown) => void;
  #refill: ReturnType<typeof setTimeout> | undefined;

  /** `removeFile` is removeMountedFile of kernel/mount.ts, off this thread; `onError` hears of namespaces that could not be made ahead. */
  constructor(
    door: NamespaceDoor,
    folder: string,
    { removeFile, onError }: { removeFile: (path: string) => Promise<void>; onError: (error: unknown) => void },
  ) {
    this.#door = door;
    this.#folder = folder;
    this.#removeFile = removeFile;
    this.#onError = onError;
  }

  path(containerId: string): string {
    return join(this.#folder, containerId);
  }

  /** @throws SysError */
  create(containerId: string): string {
    const path = this.#freePath(containerId);
    const { fd, route } = this.#ready.pop() ?? this.#make();
    try {
      nameNamespace(fd, path);
    } catch (error) {
      route[Symbol.dispose]();
      throw error;
    } finally {
      closeSync(fd);
    }
    this.#fresh.set(path, route);
    this.prepare();
    return path;
  }

  /** Takes over one that something else made: `source` leads to it. @throws SysError */
  name(containerId: string, source: string): string {
    const path = this.#freePath(containerId);
    const fd = openSync(source, "r");
    try {
      nameNamespace(fd, path);
    } finally {
      closeSync(fd);
    }
    return path;
  }

  /** Makes namespaces ahead, one at a time, while nothing else is asked for. */
  prepare(): void {
    clearTimeout(this.#refill);
    if (this.#ready.length >= READY_MOST) return;
    this.#refill = setTimeout(() => {
      try {
        this.#ready.push(this.#make());
        this.prepare();
      } catch (error) {
        this.#onError(error);
      }
    }, REFILL_AFTER_MS);
    this.#refill.unref();
  }

  #freePath(containerId: string): string {
    const path = this.path(containerId);
    mkdirSync(this.#folder, { recursive: true, mode: 0o711 });
    removeMountedFile(path); // left by a start that was killed
    return path;
  }

  #make(): FreshNamespace {
    const made = this.#door.create();
    const route = new NetlinkSocket(made.routeSocket);
    try {
      route.request(setLinkUp({ index: LOOPBACK_INDEX }));
    } catch (error) {
      route[Symbol.dispose]();
      closeSync(made.namespace);
      throw error;
    }
    return { fd: made.namespace, route };
  }

  /**
   * Lets the namespace go, which only its file holds: the kernel then tears down the links in it, in its own time. Settles once the file is gone: until then the
   * container must not get another. Safe to repeat.
   */
  async remove(containerId: string): Promise<void> {
    this.forget(containerId);
    await this.#removeFile(this.path(containerId));
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
      return { fd, route, path, [Symbol.dispose]: close };
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** Removes the namespaces of all but `kept`, ids of containers, while nobody waits for the engine yet. */
  sweep(kept: ReadonlySet<string>): void {
    for (const name of this.list()) if (!kept.has(name)) removeMountedFile(this.path(name));
  }

  /** Ids of those that have a namespace. */
  list(): string[] {
    try {
      return readdirSync(this.#folder);
    } catch (error) {
      if ((error as { code?: string }).code === "ENOENT") return [];
      throw error;
    }
  }

  closeAll(): void {
    clearTimeout(this.#refill);
    for (const { fd, route } of this.#ready.splice(0)) {
      route[Symbol.dispose]();
      closeSync(fd);
    }
    for (const socket of this.#fresh.values()) socket[Symbol.dispose]();
    this.#fresh.clear();
  }
}
