import { parseAddress } from "../lib/address.ts";
import { conflict, invalidArgument } from "../lib/errors.ts";
import type { PublishedPort } from "../networks/types.ts";
import type { HostConfig, PortBinding, PortUpdate } from "../oci/container.ts";
import { checkHostPort, effectiveBindings, isAddress, normalisePortBindings } from "./ports.ts";

export interface Republishing {
  /** What is asked for from now on. */
  host: Pick<HostConfig, "PortBindings" | "PublishAllPorts">;
  /** Of the ports that are bound now, those that go. */
  remove: PublishedPort[];
  add: Record<string, PortBinding[]>;
}

/** One binding as it was asked for, and the ports it has become where the container runs. */
interface Publication {
  key: string;
  binding: Required<PortBinding>;
  /** By -P, not by name. */
  isImplied: boolean;
  bound: PublishedPort[];
}

interface Removal {
  text: string;
  proto: string;
  hostIp: string;
  hostPort: string;
  first: number;
  last: number;
}

/** Undefined where neither field is there. @throws EngineError */
export function planPorts(
  name: string,
  { host, exposed, bound }: { host: HostConfig; exposed: Record<string, object> | null | undefined; bound: readonly PublishedPort[] },
  { PublishAdd, PublishRemove }: PortUpdate,
): Republishing | undefined {
  const add = effectiveBindings({ PortBindings: normalisePortBindings(PublishAdd ?? {}) }, undefined);
  const removals = (PublishRemove ?? []).map(parseRemoval);
  if (Object.keys(add).length === 0 && removals.length === 0) return undefined;
  let left = publicationsOf(host, exposed, bound);
  const gone: Publication[] = [];
  for (const removal of removals) {
    const { matching = [], others = [] } = Object.groupBy(left, (publication) => (isMeant(publication, removal) ? "matching" : "others"));
    if (matching.length === 0) throw invalidArgument(`container ${name} publishes no host port ${removal.text}`);
    left = others;
    gone.push(...matching);
  }
  refuseDoubles(left, add);
  // -P would bring back what went, and passes over a port that has bindings: what it implied is named from now on
  const nameAll = host.PublishAllPorts === true && gone.length > 0;
  const isNamed = ({ key, isImplied }: Publication): boolean => !isImplied || nameAll || key in add;
  const PortBindings: Record<string, PortBinding[]> = {};
  for (const publication of left.filter(isNamed)) (PortBindings[publication.key] ??= []).push(publication.binding);
  for (const [key, bindings] of Object.entries(add)) (PortBindings[key] ??= []).push(...bindings);
  return { host: { PortBindings, PublishAllPorts: host.PublishAllPorts === true && !nameAll }, remove: gone.flatMap((publication) => publication.bound), add };
}

/** `8080`, `127.0.0.1:8000-8010/udp`, as messages name it. */
function parseRemoval({ HostIp = "", HostPort, Protocol = "tcp" }: NonNullable<PortUpdate["PublishRemove"]>[number]): Removal {
  const proto = Protocol.toLowerCase();
  const text = `${HostIp === "" ? "" : `${HostIp.includes(":") ? `[${HostIp.replace(/^\[|\]$/g, "")}]` : HostIp}:`}${HostPort}/${proto}`;
  checkHostPort(HostPort);
  const range = rangeOf(HostPort);
  if (range === undefined || !["tcp", "udp", "sctp"].includes(proto) || (HostIp !== "" && !isAddress(HostIp))) {
    throw invalidArgument(`invalid port specification: ${JSON.stringify(text)}`);
  }
  return { text, proto, hostIp: HostIp, hostPort: HostPort, ...range };
}

/** Undefined: any port. */
function rangeOf(text: string): { first: number; last: number } | undefined {
  const [first = 0, last = first] = text
    .replace(/\/\w+$/, "")
    .split("-")
    .map(Number);
  return first === 0 ? undefined : { first, last };
}

const sameAddress = (a: string, b: string): boolean => {
  const [one, other] = [a, b].map((text) => parseAddress(text.replace(/^\[|\]$/g, "")));
  return one !== undefined && other !== undefined && one.family === other.family && one.value === other.value;
};

function isMeant({ key, binding, bound }: Publication, removal: Removal): boolean {
  if (!key.endsWith(`/${removal.proto}`)) return false;
  const within = (port: number): boolean => port >= removal.first && port <= removal.last;
  const ofHost = bound.filter((port) => port.hostPort !== 0);
  if (ofHost.length > 0) return ofHost.some((port) => within(port.hostPort) && (removal.hostIp === "" || sameAddress(port.hostIp, removal.hostIp)));
  if (removal.hostIp !== "" && !sameAddress(binding.HostIp, removal.hostIp)) return false;
  const range = rangeOf(binding.HostPort);
  return binding.HostPort === removal.hostPort || (range !== undefined && range.first === range.last && within(range.first));
}

/** Bindings in the order in which they were asked for. Which of them a bound port came from only their values tell: those that leave least choice go first. */
function publicationsOf(host: HostConfig, exposed: Record<string, object> | null | undefined, bound: readonly PublishedPort[]): Publication[] {
  const all = Object.entries(effectiveBindings(host, exposed)).flatMap(([key, bindings]) =>
    bindings.map(({ HostIp = "", HostPort = "" }): Publication => {
      const isImplied = (host.PortBindings?.[key] ?? []).length === 0;
      return { key, binding: { HostIp, HostPort }, isImplied, bound: [] };
    }),
  );
  const freedom = ({ binding }: Publication): number => {
    const range = rangeOf(binding.HostPort);
    return (binding.HostIp === "" ? 0.5 : 0) + (range === undefined ? 65536 : range.last - range.first);
  };
  const byKey = new Map<string, Map<number, PublishedPort[]>>();
  for (const port of bound) {
    const key = `${port.containerPort}/${port.proto}`;
    const numbers = byKey.get(key) ?? new Map<number, PublishedPort[]>();
    byKey.set(key, numbers);
    numbers.set(port.hostPort, [...(numbers.get(port.hostPort) ?? []), port]);
  }
  for (const publication of all.toSorted((a, b) => freedom(a) - freedom(b))) {
    const numbers = byKey.get(publication.key);
    const hostPort = numbers && fittingNumber(publication.binding, numbers);
    if (numbers === undefined || hostPort === undefined) continue;
    const { true: fits = [], false: rest = [] } = Object.groupBy(numbers.get(hostPort) ?? [], (port) => `${isOn(port, publication.binding)}` as const);
    publication.bound = fits;
    if (rest.length === 0) numbers.delete(hostPort);
    else numbers.set(hostPort, rest);
  }
  return all;
}

const isOn = ({ hostIp }: PublishedPort, { HostIp }: Required<PortBinding>): boolean => HostIp === "" || sameAddress(hostIp, HostIp);

/** Of the host ports that a container's port has, one that the binding may have become. */
function fittingNumber(binding: Required<PortBinding>, numbers: ReadonlyMap<number, readonly PublishedPort[]>): number | undefined {
  const fits = (hostPort: number): boolean => numbers.get(hostPort)?.some((port) => isOn(port, binding)) === true;
  const range = rangeOf(binding.HostPort);
  // 0: on the container's own address
  if (range !== undefined && range.first === range.last) return [range.first, 0].find(fits);
  const isInRange = (hostPort: number): boolean => range === undefined || hostPort === 0 || (hostPort >= range.first && hostPort <= range.last);
  return numbers.keys().find((hostPort) => isInRange(hostPort) && fits(hostPort));
}

/** Of a container at rest nobody else would notice before its start. */
function refuseDoubles(left: readonly Publication[], add: Record<string, PortBinding[]>): void {
  const isAny = (address: string): boolean => ["", "0.0.0.0", "::", "[::]"].includes(address);
  const overlap = (a: string, b: string): boolean => isAny(a) || isAny(b) || sameAddress(a, b);
  const numbers = new Map<string, string[]>();
  const addressesOn = (key: string, hostPort: string): string[] => {
    const name = `${key.split("/")[1]} ${hostPort}`;
    const known = numbers.get(name) ?? [];
    numbers.set(name, known);
    return known;
  };
  for (const { key, binding } of left) addressesOn(key, binding.HostPort).push(binding.HostIp);
  for (const [key, bindings] of Object.entries(add)) {
    for (const { HostIp = "", HostPort = "" } of bindings) {
      const taken = addressesOn(key, HostPort);
      const isExact = /^\d+$/.test(HostPort) && HostPort !== "0";
      if (isExact && taken.some((other) => overlap(other, HostIp))) {
        throw conflict(`Bind for ${HostIp || "0.0.0.0"}:${HostPort} failed: port is already allocated`);
      }
      taken.push(HostIp);
    }
  }
}
