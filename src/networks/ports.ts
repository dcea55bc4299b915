import { existsSync, readFileSync } from "node:fs";
import { closeFd } from "../kernel/fs.ts";
import { conflict, EngineError, invalidArgument, messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { SysError } from "../kernel/ffi.ts";
import { bindSocket, dropAll } from "../kernel/socket.ts";
import type { PortBinding } from "../oci/container.ts";
import { type Address, bytesOf, formatAddress, parseAddress } from "../lib/address.ts";
import type { PortRule } from "./firewall.ts";
import { proxyTcp, proxyUdp } from "./proxy.ts";
import type { PublishedPort } from "./types.ts";

/** One thing to publish: the same host port on each of `hosts`. */
export interface PortRequest {
  proto: "tcp" | "udp" | "sctp";
  containerPort: number;
  hosts: Address[];
  /** Inclusive; undefined: any free port. */
  range?: { first: number; last: number };
}

/** Addresses of the container that publishes. */
export interface PortTarget {
  ipv4?: Address;
  ipv6?: Address;
}

interface Held {
  containerId: string;
  port: PublishedPort;
  host: Address;
  target: PortTarget;
  /** The socket that keeps the port; undefined for sctp, where only our records do. */
  fd: number | undefined;
  proxy: Disposable | undefined;
}

const any4: Address = { family: 4, value: 0n };
const any6: Address = { family: 6, value: 0n };

/** `80/tcp` and its bindings as requests. Bindings without an address are for the default one, and for IPv6's any where that is 0.0.0.0. @throws EngineError invalidArgument */
export function parseBindings(portBindings: Record<string, readonly PortBinding[] | null>, defaultHost: Address, ipv6: boolean): PortRequest[] {
  const requests: PortRequest[] = [];
  for (const [key, bindings] of Object.entries(portBindings)) {
    const match = /^(\d{1,5})(?:\/(tcp|udp|sctp))?$/.exec(key);
    const containerPort = Number(match?.[1]);
    if (match === null || containerPort < 1 || containerPort > 65535) throw invalidArgument(`invalid port specification: ${JSON.stringify(key)}`);
    for (const binding of bindings ?? []) {
      const request: PortRequest = {
        proto: (match[2] ?? "tcp") as PortRequest["proto"],
        containerPort,
        hosts: hostsOf(binding.HostIp ?? "", defaultHost, ipv6),
      };
      const range = parseHostPort(binding.HostPort ?? "");
      requests.push(range === undefined ? request : { ...request, range });
    }
  }
  // exact ports first, so that no free choice takes one of them
  const freedom = (r: PortRequest): number => (r.range === undefined ? Number.MAX_SAFE_INTEGER : r.range.last - r.range.first);
  return requests.sort((a, b) => freedom(a) - freedom(b) || a.containerPort - b.containerPort);
}

function hostsOf(text: string, defaultHost: Address, ipv6: boolean): Address[] {
  if (text !== "") {
    const host = parseAddress(text.startsWith("[") && text.endsWith("]") ? text.slice(1, -1) : text);
    if (host === undefined) throw invalidArgument(`invalid IP address in port binding: ${JSON.stringify(text)}`);
    return [host];
  }
  return defaultHost.family === 4 && defaultHost.value === 0n && ipv6 ? [any4, any6] : [defaultHost];
}

function parseHostPort(text: string): { first: number; last: number } | undefined {
  if (text === "" || text === "0") return undefined;
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  const first = Number(match?.[1]);
  const last = match?.[2] === undefined ? first : Number(match[2]);
  if (match === null || first < 1 || last > 65535 || last < first) throw invalidArgument(`invalid host port in port binding: ${JSON.stringify(text)}`);
  return { first, last };
}

/** The kernel's own range for outgoing ports, from which free ones are chosen as Docker does. */
function ephemeralRange(): { first: number; last: number } {
  try {
    const [first, last] = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8").trim().split(/\s+/).map(Number);
    if (first !== undefined && last !== undefined && first > 0 && last >= first) return { first, last };
  } catch {
    // no /proc/sys in some sandboxes: the kernel's default
  }
  return { first: 32768, last: 60999 };
}

const overlapping = (a: Address, b: Address): boolean => a.family === b.family && (a.value === b.value || a.value === 0n || b.value === 0n);

/**
 * The host's ports that containers publish. Each is held by a bound (and listening) socket, so that a clash with any process shows at once and later
 * processes find it taken. Where DNAT serves a port its socket drops all; else a proxy reads from it.
 */
export class HostPorts {
  readonly #log: Logger;
  /** Whether DNAT rules exist at all. */
  readonly #dnat: boolean;
  readonly #byPort = new Map<string, Held[]>();
  readonly #byContainer = new Map<string, Held[]>();
  readonly #range = ephemeralRange();
  #next: number;
  /** Whether the host has IPv6. */
  readonly ipv6 = existsSync("/proc/net/if_inet6");

  constructor(options: { dnat: boolean; log: Logger }) {
    this.#dnat = options.dnat;
    this.#log = options.log;
    this.#next = this.#range.first;
  }

  /** Takes all ports or none. @throws EngineError conflict in Docker's words, invalidArgument for an address the host doesn't have */
  reserve(containerId: string, requests: readonly PortRequest[], target: PortTarget): PublishedPort[] {
    const taken: Held[] = [];
    try {
      for (const request of requests) taken.push(...this.#reserveOne(containerId, request, target));
    } catch (error) {
      for (const held of taken) this.#drop(held);
      throw error;
    }
    return taken.map((held) => held.port);
  }

  /** Takes ports back after a restart of the engine. One that someone took meanwhile is logged; the rules still lead to the container. */
  restore(containerId: string, ports: readonly PublishedPort[], target: PortTarget): void {
    for (const port of ports) {
      const host = parseAddress(port.hostIp);
      if (host === undefined) continue;
      try {
        this.#take(containerId, port.proto, [host], port.hostPort, port.containerPort, target);
      } catch (error) {
        this.#log.warn("a published port could not be held again", {
          container: containerId,
          port: `${port.hostIp}:${port.hostPort}`,
          error: messageOf(error),
        });
        this.#keep({ containerId, port, host, target, fd: undefined, proxy: undefined });
      }
    }
  }

  /** Starts serving: proxies where they are needed; returns the rules for the rest. */
  serve(containerId: string): PortRule[] {
    const rules: PortRule[] = [];
    for (const held of this.#byContainer.get(containerId) ?? []) {
      const { port, host, target } = held;
      const same = host.family === 4 ? target.ipv4 : target.ipv6;
      if (this.#dnat && same !== undefined) {
        rules.push({ proto: port.proto, hostIp: host, hostPort: port.hostPort, containerIp: same, containerPort: port.containerPort });
      }
      const to = same ?? target.ipv4 ?? target.ipv6;
      if (held.fd === undefined || to === undefined || held.proxy !== undefined || !this.#needsProxy(host, target)) continue;
      const proxy = port.proto === "tcp" ? proxyTcp : proxyUdp;
      held.proxy = proxy(held.fd, { host: formatAddress(to), port: port.containerPort }, this.#log);
    }
    return rules;
  }

  /** The rules that `serve` gave, for taking them out. */
  rulesOf(containerId: string): PortRule[] {
    return (this.#byContainer.get(containerId) ?? []).flatMap(({ port, host, target }) => {
      const same = host.family === 4 ? target.ipv4 : target.ipv6;
      if (!this.#dnat || same === undefined) return [];
      return { proto: port.proto, hostIp: host, hostPort: port.hostPort, containerIp: same, containerPort: port.containerPort };
    });
  }

  release(containerId: string): void {
    for (const held of this.#byContainer.get(containerId) ?? []) this.#drop(held);
  }

  close(): void {
    for (const id of this.#byContainer.keys()) this.release(id);
  }

  /** DNAT serves same-family traffic except ::1, which the kernel won't route off the host. */
  #needsProxy(host: Address, target: PortTarget): boolean {
    return !this.#dnat || host.family === 6 || target.ipv4 === undefined;
  }

  #reserveOne(containerId: string, request: PortRequest, target: PortTarget): Held[] {
    const { proto, containerPort, hosts, range } = request;
    if (range !== undefined && range.first === range.last) return this.#take(containerId, proto, hosts, range.first, containerPort, target);
    const { first, last } = range ?? this.#range;
    const size = last - first + 1;
    const start = range === undefined ? this.#next : first;
    for (let i = 0; i < size; i++) {
      const candidate = first + ((start - first + i) % size);
      try {
        const held = this.#take(containerId, proto, hosts, candidate, containerPort, target);
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

  #take(containerId: string, proto: PortRequest["proto"], hosts: readonly Address[], hostPort: number, containerPort: number, target: PortTarget): Held[] {
    for (const host of hosts) {
      const clash = this.#byPort.get(`${proto} ${hostPort}`)?.some((held) => overlapping(held.host, host));
      if (clash === true) throw conflict(`Bind for ${formatHost(host)}:${hostPort} failed: port is already allocated`);
    }
    const result: Held[] = [];
    try {
      for (const host of hosts) {
        const fd = proto === "sctp" ? undefined : this.#bind(proto, host, hostPort, target);
        const port = { proto, containerPort, hostIp: formatAddress(host), hostPort };
        result.push(this.#keep({ containerId, port, host, target, fd, proxy: undefined }));
      }
    } catch (error) {
      for (const held of result) this.#drop(held);
      throw error;
    }
    return result;
  }

  #bind(proto: "tcp" | "udp", host: Address, hostPort: number, target: PortTarget): number {
    let fd: number;
    try {
      fd = bindSocket(proto, bytesOf(host), hostPort);
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      const where = `failed to bind host port ${formatHost(host)}:${hostPort}/${proto}`;
      if (error.code === "EADDRINUSE") throw conflict(`${where}: address already in use`, error);
      if (error.code === "EADDRNOTAVAIL") throw invalidArgument(`${where}: cannot assign requested address`, error);
      throw error;
    }
    if (!this.#needsProxy(host, target)) dropAll(fd);
    return fd;
  }

  #keep(held: Held): Held {
    const key = `${held.port.proto} ${held.port.hostPort}`;
    this.#byPort.set(key, [...(this.#byPort.get(key) ?? []), held]);
    this.#byContainer.set(held.containerId, [...(this.#byContainer.get(held.containerId) ?? []), held]);
    return held;
  }

  #drop(held: Held): void {
    const without = (map: Map<string, Held[]>, key: string): void => {
      const rest = (map.get(key) ?? []).filter((other) => other !== held);
      if (rest.length > 0) map.set(key, rest);
      else map.delete(key);
    };
    without(this.#byPort, `${held.port.proto} ${held.port.hostPort}`);
    without(this.#byContainer, held.containerId);
    if (held.proxy !== undefined) held.proxy[Symbol.dispose]();
    else if (held.fd !== undefined) closeFd(held.fd);
  }
}

const formatHost = (host: Address): string => (host.family === 6 ? `[${formatAddress(host)}]` : formatAddress(host));
