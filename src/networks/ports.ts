import { closeFd } from "../kernel/fs.ts";
import { cancelled, conflict, EngineError, invalidArgument, messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { SysError } from "../kernel/ffi.ts";
import { readLimit, rlimitNumbers } from "../kernel/process.ts";
import { bindSocket } from "../kernel/socket.ts";
import { createSocketFilters } from "../kernel/socket-filter.ts";
import { nextTurn } from "../lib/turns.ts";
import { type Address, bytesOf, formatAddress, parseAddress } from "../lib/address.ts";
import type { PortRule } from "./ruleset.ts";
import { any6, ephemeralRange, type PortRequest, reservedPorts } from "./port-requests.ts";
import { proxyTcp, proxyUdp } from "./proxy.ts";
import type { PublishedPort } from "./types.ts";

/** Addresses of the container that publishes. */
export interface PortTarget {
  ipv4?: Address;
  ipv6?: Address;
}

/** One host port on one address, or on all of both families. */
interface Held {
  containerId: string;
  proto: PublishedPort["proto"];
  containerPort: number;
  hostPort: number;
  hosts: readonly Address[];
  target: PortTarget;
  /** The socket that keeps the port; undefined for sctp, where only our records do. */
  fd: number | undefined;
  proxy: Disposable | undefined;
  /** Given up for a moment, to be had by the same container alone. */
  isSuspended?: true;
}

/** Ports on their way out, whose sockets are closed already. One of the two ends it; neither does anything when the container has ended meanwhile. */
export interface Suspended {
  /** What leads to the container still. */
  readonly rules: PortRule[];
  resume(): void;
  drop(): void;
}

/** Ports reserved at a time: two milliseconds. */
export const PORTS_AT_ONCE = 128;

/** Proxies made at a time: half a millisecond. */
const PROXIES_AT_ONCE = 32;

/** Of the files that the engine may have open, what published ports leave to everything else. */
const FILES_LEFT = 0.25;

/** The one that it must be; undefined where there is a choice. */
const onlyPort = (range: PortRequest["range"]): number | undefined => (range?.first === range?.last ? range?.first : undefined);
const overlapping = (a: Address, b: Address): boolean => a.family === b.family && (a.value === b.value || a.value === 0n || b.value === 0n);
const sameFamily = (host: Address, target: PortTarget): Address | undefined => (host.family === 4 ? target.ipv4 : target.ipv6);
const publishedBy = (held: Held): PublishedPort[] =>
  held.hosts.map((host) => ({ proto: held.proto, containerPort: held.containerPort, hostIp: formatAddress(host), hostPort: held.hostPort }));

/**
 * The host's ports that containers publish. Each is held by a bound (and listening) socket, so that a clash with any process shows at once and later
 * processes find it taken; one socket serves both families. Where DNAT serves a port its socket is deaf; else a proxy reads from it.
 */
export class HostPorts {
  readonly #log: Logger;
  /** Whether there are DNAT rules of a family at all. */
  readonly #dnat: { 4: boolean; 6: boolean };
  /** Whether what no rule can serve goes through a proxy in the engine. */
  readonly #proxies: boolean;
  readonly #byPort = new Map<string, Held[]>();
  readonly #byContainer = new Map<string, Set<Held>>();
  readonly #filters = createSocketFilters();
  /** Served by a proxy that has not been made yet: connections wait in the socket. */
  readonly #unserved = new Set<Held>();
  #serving: ReturnType<typeof setImmediate> | undefined;
  readonly #range = ephemeralRange();
  #next: number;
  #sockets = 0;
  /** Whether the host has IPv6; told as Docker tells it. */
  readonly ipv6 = isListenable({ family: 6, value: 1n });

  constructor(options: { dnat: { 4: boolean; 6: boolean }; proxies?: boolean; log: Logger }) {
    this.#dnat = options.dnat;
    this.#proxies = options.proxies ?? true;
    this.#log = options.log;
    this.#next = this.#range.first;
  }

  /** Takes all ports or none. @throws EngineError conflict in Docker's words, invalidArgument for an address the host doesn't have */
  reserve(containerId: string, requests: readonly PortRequest[], target: PortTarget): PublishedPort[] {
    const steps = this.#reserving(containerId, requests, target);
    for (;;) {
      const step = steps.next();
      if (step.done === true) return step.value;
    }
  }

  /**
   * The same for thousands, with everything else in between; a port that another container has is told before any is taken.
   * @throws EngineError as `reserve`, and cancelled where the container's ports were released meanwhile
   */
  async reserveInTurns(containerId: string, requests: readonly PortRequest[], target: PortTarget): Promise<PublishedPort[]> {
    for (const { proto, hosts, range } of requests) {
      const port = onlyPort(range);
      if (port !== undefined) this.#checkFree(containerId, proto, hosts, port);
    }
    await nextTurn();
    const steps = this.#reserving(containerId, requests, target);
    for (;;) {
      const step = steps.next();
      if (step.done === true) return step.value;
      await nextTurn();
    }
  }

  /** Yields after each `PORTS_AT_ONCE`, and where there were so many at the end: who asked has more to do with them all. */
  *#reserving(containerId: string, requests: readonly PortRequest[], target: PortTarget): Generator<void, PublishedPort[], undefined> {
    this.#checkRoom(requests.filter(({ proto }) => proto !== "sctp").length);
    const taken: Held[] = [];
    // released as a whole while others had their turn
    const checkHeld = (): void => {
      const first = taken[0];
      if (first !== undefined && this.#byContainer.get(containerId)?.has(first) !== true)
        throw cancelled(`publishing ports of container ${containerId} was cancelled`);
    };
    try {
      for (const [i, request] of requests.entries()) {
        if (i > 0 && i % PORTS_AT_ONCE === 0) {
          yield;
          checkHeld();
        }
        const hosts = this.#reachable(request, target);
        if (hosts.length > 0) taken.push(this.#reserveOne(containerId, { ...request, hosts }, target));
        else
          this.#log.warn("a port is not published: nothing leads from its host address to the container without a proxy", {
            container: containerId,
            port: `${request.containerPort}/${request.proto}`,
          });
      }
      if (requests.length > PORTS_AT_ONCE) {
        yield;
        checkHeld();
      }
    } catch (error) {
      for (const held of taken) this.#drop(held);
      throw error;
    }
    return taken.flatMap(publishedBy);
  }

  /** Takes ports back after a restart of the engine. One that someone took meanwhile is logged; the rules still lead to the container. */
  restore(containerId: string, ports: readonly PublishedPort[], target: PortTarget): void {
    for (const { proto, containerPort, hostPort, hosts } of joined(ports)) {
      try {
        this.#take(containerId, { proto, containerPort, hosts }, hostPort, target);
      } catch (error) {
        this.#warnUnheld(this.#keep({ containerId, proto, containerPort, hostPort, hosts, target, fd: undefined, proxy: undefined }), error);
      }
    }
  }

  /** Starts serving the container's ports, or `ports` of them: proxies where they are needed, in a moment; returns the rules for the rest. */
  serve(containerId: string, ports?: readonly PublishedPort[]): PortRule[] {
    const all = this.#heldOf(containerId, ports);
    for (const held of all) this.#serveLater(held);
    return all.flatMap((held) => this.#rules(held));
  }

  /** The rules that `serve` gave, for taking them out; of `ports` alone where they are named. */
  rulesOf(containerId: string, ports?: readonly PublishedPort[]): PortRule[] {
    return this.#heldOf(containerId, ports).flatMap((held) => this.#rules(held));
  }

  /** Gives back the container's ports, or those of `ports`. */
  release(containerId: string, ports?: readonly PublishedPort[]): void {
    for (const held of this.#heldOf(containerId, ports)) this.#drop(held);
  }

  /** Whether `releaseInTurns` is the way to give them back. */
  hasMany(containerId: string): boolean {
    return (this.#byContainer.get(containerId)?.size ?? 0) > PORTS_AT_ONCE;
  }

  /** Gives back all of the container's ports, with everything else in between; `withdraw` takes out the rules of some, just before they go. */
  async releaseInTurns(containerId: string, withdraw: (rules: PortRule[]) => void): Promise<void> {
    for (;;) {
      const some = [...(this.#byContainer.get(containerId) ?? [])].slice(0, PORTS_AT_ONCE);
      if (some.length === 0) return;
      withdraw(some.flatMap((held) => this.#rules(held)));
      for (const held of some) this.#drop(held);
      await nextTurn();
    }
  }

  /** Makes room for other ports of the same container on the same numbers. */
  suspend(containerId: string, ports: readonly PublishedPort[]): Suspended {
    const all = this.#heldOf(containerId, ports);
    for (const held of all) {
      this.#closeSocket(held);
      held.isSuspended = true;
    }
    const left = (): Held[] => all.filter((held) => this.#byContainer.get(containerId)?.has(held) === true);
    return {
      rules: all.flatMap((held) => this.#rules(held)),
      resume: () => {
        for (const held of left()) this.#resume(held);
      },
      drop: () => {
        for (const held of left()) this.#drop(held);
      },
    };
  }

  /** Ports that another process has; `retake` tries again. */
  unheld(): { containerId: string; where: string; proto: string; retake(): void }[] {
    // one that is suspended has no socket on purpose
    const all = [...this.#byContainer.values()]
      .flatMap((each) => [...each])
      .filter(({ fd, proto, isSuspended }) => fd === undefined && proto !== "sctp" && isSuspended !== true);
    return all.map((held) => ({
      containerId: held.containerId,
      where: whereOf(held),
      proto: held.proto,
      retake: () => this.#open(held),
    }));
  }

  close(): void {
    clearImmediate(this.#serving);
    for (const id of this.#byContainer.keys()) this.release(id);
    this.#filters[Symbol.dispose]();
  }

  #heldOf(containerId: string, ports: readonly PublishedPort[] | undefined): Held[] {
    const all = [...(this.#byContainer.get(containerId) ?? [])];
    if (ports === undefined) return all;
    const wanted = new Set(ports.map(portKey));
    return all.filter((held) => held.isSuspended !== true && publishedBy(held).some((port) => wanted.has(portKey(port))));
  }

  #rules({ proto, hosts, hostPort, target, containerPort }: Held): PortRule[] {
    return hosts.flatMap((hostIp) => {
      const containerIp = this.#dnat[hostIp.family] ? sameFamily(hostIp, target) : undefined;
      return containerIp === undefined ? [] : [{ proto, hostIp, hostPort, containerIp, containerPort }];
    });
  }

  #warnUnheld(held: Held, error: unknown): void {
    this.#log.warn("a published port could not be held again", {
      container: held.containerId,
      port: `${whereOf(held)}/${held.proto}`,
      error: messageOf(error),
    });
  }

  #serveLater(held: Held): void {
    if (held.fd === undefined || held.proxy !== undefined || !held.hosts.some((host) => this.#needsProxy(host, held.target))) return;
    this.#unserved.add(held);
    this.#serving ??= setImmediate(() => this.#serveSome());
  }

  #serveSome(): void {
    this.#serving = undefined;
    let left = PROXIES_AT_ONCE;
    for (const held of this.#unserved) {
      if (left-- === 0) break;
      this.#unserved.delete(held);
      const proxied = held.hosts.find((host) => this.#needsProxy(host, held.target));
      const to = (proxied && sameFamily(proxied, held.target)) ?? held.target.ipv4 ?? held.target.ipv6;
      if (held.fd === undefined || to === undefined) continue;
      const proxy = held.proto === "tcp" ? proxyTcp : proxyUdp;
      held.proxy = proxy(held.fd, { host: formatAddress(to), port: held.containerPort }, this.#log);
    }
    if (this.#unserved.size > 0) this.#serving = setImmediate(() => this.#serveSome());
  }

  /** DNAT serves same-family traffic except ::1, which the kernel won't route off the host. */
  #needsProxy(host: Address, target: PortTarget): boolean {
    return this.#proxies && (!this.#dnat[host.family] || host.family === 6 || target.ipv4 === undefined);
  }

  /** Every port is an open file. @throws EngineError conflict */
  #checkRoom(wanted: number): void {
    const { soft } = readLimit(rlimitNumbers["NOFILE"]!);
    if (soft < 0 || this.#sockets + wanted <= soft * (1 - FILES_LEFT)) return;
    throw conflict(
      `publishing ${wanted} more ports failed: ${this.#sockets} are held already, each is an open file, and of the ${soft} that the engine may have three quarters are for ports (raise LimitNOFILE of its service, or ulimit -n)`,
    );
  }

  /** From one family of addresses to the other only a proxy leads, and none does for sctp. @throws EngineError invalidArgument */
  #reachable({ proto, hosts, containerPort }: PortRequest, target: PortTarget): Address[] {
    if (this.#proxies && proto !== "sctp") return hosts;
    const direct = hosts.filter((host) => sameFamily(host, target) !== undefined);
    if (direct.length > 0 || proto !== "sctp") return direct;
    throw invalidArgument(`publishing ${containerPort}/sctp on ${hosts.map(formatHost).join(", ")} failed: the container has no address of that family`);
  }

  #reserveOne(containerId: string, request: PortRequest, target: PortTarget): Held {
    const { hosts, range } = request;
    const port = onlyPort(range);
    if (port !== undefined) return this.#take(containerId, request, port, target);
    const { first, last } = range ?? this.#range;
    const isReserved = range === undefined ? reservedPorts() : () => false;
    const size = last - first + 1;
    const start = range === undefined ? this.#next : first;
    for (let i = 0; i < size; i++) {
      const candidate = first + ((start - first + i) % size);
      if (isReserved(candidate)) continue;
      try {
        const held = this.#take(containerId, request, candidate, target);
        if (range === undefined) this.#next = candidate === last ? first : candidate + 1;
        return held;
      } catch (error) {
        if (!(error instanceof EngineError) || error.kind !== "conflict") throw error;
      }
    }
    throw conflict(
      range === undefined ? "all ports are allocated" : `Bind for ${hosts.map(formatAddress).join(", ")}:${first}-${last} failed: all ports are allocated`,
    );
  }

  #take(containerId: string, request: Omit<PortRequest, "range">, hostPort: number, target: PortTarget): Held {
    const { proto, containerPort, hosts } = request;
    this.#checkFree(containerId, proto, hosts, hostPort);
    const fd = proto === "sctp" ? undefined : this.#bind(proto, hosts, hostPort, target);
    return this.#keep({ containerId, proto, containerPort, hostPort, hosts, target, fd, proxy: undefined });
  }

  /** @throws EngineError conflict where a container has it */
  #checkFree(containerId: string, proto: PortRequest["proto"], hosts: readonly Address[], hostPort: number): void {
    const rivals = this.#byPort.get(`${proto} ${hostPort}`)?.filter((held) => held.isSuspended !== true || held.containerId !== containerId);
    if (rivals === undefined) return;
    for (const host of hosts) {
      if (rivals.some((held) => held.hosts.some((other) => overlapping(other, host))))
        throw conflict(`Bind for ${formatHost(host)}:${hostPort} failed: port is already allocated`);
    }
  }

  #bind(proto: "tcp" | "udp", hosts: readonly Address[], hostPort: number, target: PortTarget): number {
    const fd = hosts.length === 1 ? bindOne(proto, hosts[0]!, hostPort) : bindBoth(proto, hosts, hostPort);
    const proxied = hosts.filter((host) => this.#needsProxy(host, target));
    try {
      if (proxied.length === 0) this.#filters.restrict(fd, "nothing");
      else if (proxied.length < hosts.length) this.#filters.restrict(fd, "ipv6");
    } catch (error) {
      closeFd(fd);
      throw error;
    }
    return fd;
  }

  #keep(held: Held): Held {
    const key = `${held.proto} ${held.hostPort}`;
    const onPort = this.#byPort.get(key);
    if (onPort === undefined) this.#byPort.set(key, [held]);
    else onPort.push(held);
    const ofContainer = this.#byContainer.get(held.containerId);
    if (ofContainer === undefined) this.#byContainer.set(held.containerId, new Set([held]));
    else ofContainer.add(held);
    if (held.fd !== undefined) this.#sockets++;
    return held;
  }

  #drop(held: Held): void {
    const key = `${held.proto} ${held.hostPort}`;
    const rest = (this.#byPort.get(key) ?? []).filter((other) => other !== held);
    if (rest.length > 0) this.#byPort.set(key, rest);
    else this.#byPort.delete(key);
    const ofContainer = this.#byContainer.get(held.containerId);
    ofContainer?.delete(held);
    if (ofContainer?.size === 0) this.#byContainer.delete(held.containerId);
    this.#closeSocket(held);
  }

  #closeSocket(held: Held): void {
    this.#unserved.delete(held);
    if (held.fd === undefined) return;
    this.#sockets--;
    if (held.proxy !== undefined) held.proxy[Symbol.dispose]();
    else closeFd(held.fd);
    held.fd = undefined;
    held.proxy = undefined;
  }

  #resume(held: Held): void {
    delete held.isSuspended;
    try {
      this.#open(held);
    } catch (error) {
      this.#warnUnheld(held, error);
    }
  }

  /** A socket again for a port that has lost its own, while it is the container's still. @throws EngineError conflict, invalidArgument */
  #open(held: Held): void {
    const isLost = held.fd === undefined && held.isSuspended !== true && this.#byContainer.get(held.containerId)?.has(held) === true;
    if (!isLost || held.proto === "sctp") return;
    held.fd = this.#bind(held.proto, held.hosts, held.hostPort, held.target);
    this.#sockets++;
    this.#serveLater(held);
  }
}

/** What no two published ports share: on networks of gateway mode `routed` the host's port is 0. */
export const portKey = ({ proto, hostIp, hostPort, containerPort }: PublishedPort): string => `${proto} ${hostIp} ${hostPort} ${containerPort}`;

const formatHost = (host: Address): string => (host.family === 6 ? `[${formatAddress(host)}]` : formatAddress(host));
const whereOf = ({ hosts, hostPort }: Held): string => `${hosts.map(formatHost).join(", ")}:${hostPort}`;

/** Ports as they are recorded, one for each address, as they were reserved: the any-addresses of both families together. */
function joined(ports: readonly PublishedPort[]): (Omit<PublishedPort, "hostIp"> & { hosts: Address[] })[] {
  const result: (Omit<PublishedPort, "hostIp"> & { hosts: Address[] })[] = [];
  for (const { proto, containerPort, hostPort, hostIp } of ports) {
    const host = parseAddress(hostIp);
    if (host === undefined) continue;
    const last = result.at(-1);
    const isPair = host.family === 6 && host.value === 0n && last?.hosts.length === 1 && last.hosts[0]!.family === 4 && last.hosts[0]!.value === 0n;
    if (isPair && last.proto === proto && last.containerPort === containerPort && last.hostPort === hostPort) last.hosts.push(host);
    else result.push({ proto, containerPort, hostPort, hosts: [host] });
  }
  return result;
}

function isListenable(host: Address): boolean {
  try {
    closeFd(bindSocket("tcp", bytesOf(host), 0));
    return true;
  } catch {
    return false; // no IPv6 in the kernel, or switched off by sysctl
  }
}

/** @throws EngineError conflict, invalidArgument */
function bindOne(proto: "tcp" | "udp", host: Address, hostPort: number): number {
  try {
    return bindSocket(proto, bytesOf(host), hostPort);
  } catch (error) {
    throw refusal(error, proto, host, hostPort);
  }
}

/** All addresses of both families by one socket. */
function bindBoth(proto: "tcp" | "udp", hosts: readonly Address[], hostPort: number): number {
  try {
    return bindSocket(proto, bytesOf(any6), hostPort, { bothFamilies: true });
  } catch (error) {
    // in which family it is taken only each of them can tell
    for (const host of hosts) closeFd(bindOne(proto, host, hostPort));
    throw refusal(error, proto, hosts[0]!, hostPort);
  }
}

function refusal(error: unknown, proto: string, host: Address, hostPort: number): unknown {
  if (!(error instanceof SysError)) return error;
  const where = `failed to bind host port ${formatHost(host)}:${hostPort}/${proto}`;
  if (error.code === "EADDRINUSE") return conflict(`${where}: address already in use`, error);
  if (error.code === "EADDRNOTAVAIL") return invalidArgument(`${where}: cannot assign requested address`, error);
  return error;
}
