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
    const matching = left.filter((publication) => isMeant(publication, removal));
    if (matching.length === 0) throw invalidArgument(`container ${name} publishes no host port ${removal.text}`);
    left = left.filter((publication) => !matching.includes(publication));
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
  const [first = 0, last = first] = text.split("-").map(Number);
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
  const groups = Map.groupBy(bound, (port) => `${port.containerPort}/${port.proto} ${port.hostPort}`);
  for (const publication of all.toSorted((a, b) => freedom(a) - freedom(b))) {
    for (const [name, ports] of groups) {
      if (!name.startsWith(`${publication.key} `)) continue;
      const { HostIp, HostPort } = publication.binding;
      const range = rangeOf(HostPort);
      const fits = ports.filter(
        ({ hostIp, hostPort }) =>
          (HostIp === "" || sameAddress(hostIp, HostIp)) && (!range || hostPort === 0 || (hostPort >= range.first && hostPort <= range.last)),
      );
      if (fits.length === 0) continue;
      publication.bound = fits;
      const rest = ports.filter((port) => !fits.includes(port));
      if (rest.length === 0) groups.delete(name);
      else groups.set(name, rest);
      break;
    }
  }
  return all;
}

/** Of a container at rest nobody else would notice before its start. */
function refuseDoubles(left: readonly Publication[], add: Record<string, PortBinding[]>): void {
  const isAny = (address: string): boolean => ["", "0.0.0.0", "::", "[::]"].includes(address);
  const overlap = (a: string, b: string): boolean => isAny(a) || isAny(b) || sameAddress(a, b);
  const taken = left.map(({ key, binding }) => ({ proto: key.split("/")[1], ...binding }));
  for (const [key, bindings] of Object.entries(add)) {
    const proto = key.split("/")[1];
    for (const { HostIp = "", HostPort = "" } of bindings) {
      const isExact = /^\d+$/.test(HostPort) && HostPort !== "0";
      if (isExact && taken.some((other) => other.proto === proto && other.HostPort === HostPort && overlap(other.HostIp, HostIp))) {
        throw conflict(`Bind for ${HostIp || "0.0.0.0"}:${HostPort} failed: port is already allocated`);
      }
      taken.push({ proto, HostIp, HostPort });
    }
  }
}
