import { readSysctl } from "../kernel/namespace.ts";
import { type Address, parseAddress } from "../lib/address.ts";
import { invalidArgument } from "../lib/errors.ts";
import type { PortBinding } from "../oci/container.ts";

/** One thing to publish: the same host port on each of `hosts`. */
export interface PortRequest {
  proto: "tcp" | "udp" | "sctp";
  containerPort: number;
  hosts: Address[];
  /** Inclusive; undefined: any free port. */
  range?: { first: number; last: number };
}

export const any4: Address = { family: 4, value: 0n };
export const any6: Address = { family: 6, value: 0n };

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

function parseHostPort(asked: string): { first: number; last: number } | undefined {
  // Docker takes `8080/tcp` here, too, and passes over the protocol
  const text = asked.replace(/\/\w+$/, "");
  if (text === "" || text === "0") return undefined;
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  const first = Number(match?.[1]);
  const last = match?.[2] === undefined ? first : Number(match[2]);
  if (match === null || first < 1 || last > 65535 || last < first) throw invalidArgument(`invalid host port in port binding: ${JSON.stringify(text)}`);
  return { first, last };
}

/** Empty in some sandboxes, which have no /proc/sys. */
const readSetting = (name: string): string => readSysctl(`/proc/sys/net/ipv4/${name}`) ?? "";

/** The kernel's own range for outgoing ports, from which free ones are chosen as Docker does. */
export function ephemeralRange(): { first: number; last: number } {
  const [first, last] = readSetting("ip_local_port_range").split(/\s+/).map(Number);
  if (first !== undefined && last !== undefined && first > 0 && last >= first) return { first, last };
  return { first: 32768, last: 60999 };
}

/** Ports that the administrator keeps for programs to come (`ip_local_reserved_ports`: `8080,9148-9150`): none of them is chosen freely. */
export function reservedPorts(text = readSetting("ip_local_reserved_ports")): (port: number) => boolean {
  const ranges = text
    .split(",")
    .map((part) => part.split("-").map(Number))
    .flatMap(([first, last = first]) => (first === undefined || last === undefined || !(first > 0) ? [] : [{ first, last }]));
  return (port) => ranges.some(({ first, last }) => port >= first && port <= last);
}
