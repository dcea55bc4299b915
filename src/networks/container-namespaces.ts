import { closeSync, mkdirSync, openSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { closeFd } from "../kernel/fs.ts";
import { removeMountedFile } from "../kernel/mount.ts";
import { nameNamespace, type NamespaceDoor } from "../kernel/namespace.ts";
import { NetlinkSocket } from "../kernel/netlink.ts";
import type { FreshNamespace } from "./link-calls.ts";
import type { Awaitable, NamespaceHandle } from "./driver.ts";

/** Made ahead: a start needn't wait for one. They have no names, so a crash leaves nothing. */
const READY_MOST = 3;
/** Later than the start that took one. */
const REFILL_AFTER_MS = 50;

/**
 * The containers' network namespaces: one file each, named by the container's id. The rtnetlink socket that was opened with a namespace is kept
 * until its first link is made, which saves a visit.
 */
export class ContainerNamespaces {
  readonly #door: NamespaceDoor;
  readonly #folder: string;
  readonly #ready: FreshNamespace[] = [];
  readonly #fresh = new Map<string, NetlinkSocket>();
  readonly #make: () => Promise<FreshNamespace>;
  readonly #removeFile: (path: string) => Promise<void>;
  readonly #onError: (error: unknown) => void;
  #refill: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  /**
   * `make` is makeNamespace of chores.ts, `removeFile` removeMountedFile of kernel/mount.ts, off this thread; `onError` hears of namespaces that could not be made
   * ahead.
   */
  constructor(
    door: NamespaceDoor,
    folder: string,
    { make, removeFile, onError }: { make: () => Promise<FreshNamespace>; removeFile: (path: string) => Promise<void>; onError: (error: unknown) => void },
  ) {
    this.#door = door;
    this.#folder = folder;
    this.#make = make;
    this.#removeFile = removeFile;
    this.#onError = onError;
  }

  path(containerId: string): string {
    return join(this.#folder, containerId);
  }

  /** A promise where none was made ahead. @throws SysError */
  create(containerId: string): Awaitable<string> {
    const made = this.#ready.pop();
    this.prepare();
    return made === undefined ? this.#make().then((fresh) => this.#give(containerId, fresh)) : this.#give(containerId, made);
  }

  #give(containerId: string, { fd, route }: FreshNamespace): string {
    const path = this.path(containerId);
    try {
      this.#clear(path);
      nameNamespace(fd, path);
    } catch (error) {
      closeFd(route);
      throw error;
    } finally {
      closeFd(fd);
    }
    this.#fresh.set(path, new NetlinkSocket(route));
    return path;
  }

  /** Takes over one that something else made: `source` leads to it. @throws SysError */
  name(containerId: string, source: string): string {
    const path = this.path(containerId);
    this.#clear(path);
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
    if (this.#ready.length >= READY_MOST || this.#closed) return;
    this.#refill = setTimeout(() => {
      this.#make()
        .then((fresh) => {
          if (this.#closed || this.#ready.length >= READY_MOST) return close(fresh);
          this.#ready.push(fresh);
          this.prepare();
        })
        .catch(this.#onError);
    }, REFILL_AFTER_MS);
    this.#refill.unref();
  }

  #clear(path: string): void {
    mkdirSync(this.#folder, { recursive: true, mode: 0o711 });
    removeMountedFile(path); // left by a start that was killed
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
      const route = this.#fresh.get(path) ?? new NetlinkSocket(this.#door.netlinkSocket(fd, "route"));
      // the handle's from now on: a Worker may be using it when the container is given up
      this.#fresh.delete(path);
      return {
        fd,
        route,
        path,
        [Symbol.dispose]: () => {
          closeSync(fd);
          route[Symbol.dispose]();
        },
      };
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
    this.#closed = true;
    clearTimeout(this.#refill);
    this.#ready.splice(0).forEach(close);
    for (const socket of this.#fresh.values()) socket[Symbol.dispose]();
    this.#fresh.clear();
  }
}

function close({ fd, route }: FreshNamespace): void {
  closeFd(route);
  closeFd(fd);
}
