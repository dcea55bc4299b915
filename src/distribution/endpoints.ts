import { lookup } from "node:dns/promises";
import { BlockList, isIP } from "node:net";
import { invalidArgument } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { createCertificates } from "./certificates.ts";
import { isTemporary, type RegistryError } from "./errors.ts";
import { send, type TlsOptions } from "./transport.ts";

/** One place to ask for a repository. */
export interface Endpoint {
  /** `https://host:port`, or a mirror's address with its prefix; no trailing slash. */
  base: string;
  mirror: boolean;
  /** The registry that it is asked for, where it mirrors several: sent as `ns`, as containerd does. */
  namespace?: string;
  tls: TlsOptions;
}

export interface Endpoints {
  /** Where to look first for a repository of `domain` when reading. */
  mirrors(domain: string): Promise<Endpoint[]>;
  /** The registry itself. An insecure one is asked which scheme it speaks. @throws RegistryError where it can't be reached for that */
  own(domain: string, signal?: AbortSignal): Promise<Endpoint>;
  /** Called after a failed connection: the next look-up asks again which scheme the host speaks, and leaves a mirror out for a while. */
  forget(endpoint: Endpoint): void;
  isInsecure(host: string): Promise<boolean>;
}

export interface EndpointOptions {
  /** Hosts (`host[:port]`) and CIDRs. */
  insecure: readonly string[];
  /** URLs of mirrors of docker.io. */
  mirrors: readonly string[];
  /** URLs of mirrors of other registries, by host; `*` for all that have none of their own, docker.io too. */
  mirrorsOf?: Readonly<Record<string, readonly string[]>>;
  /** Folders with `<host>/*.crt, *.cert, *.key`, as /etc/docker/certs.d. */
  certificates: readonly string[];
  stallTimeout: number;
  log: Logger;
}

/** Milliseconds for which a mirror that can't be reached isn't asked. */
const LEFT_OUT = 5 * 60_000;
const everyRegistry = "*";
const hubDomain = "docker.io";
const hubHost = "registry-1.docker.io";

/** @throws EngineError invalidArgument for a mirror or an insecure registry that doesn't parse */
export function createEndpoints(options: EndpointOptions): Endpoints {
  const insecure = parseInsecure(options.insecure);
  const mirrors = parseMirrors(options);
  const certificates = createCertificates(options.certificates);
  /** When mirrors that couldn't be reached may be asked again, by address. */
  const leftOut = new Map<string, number>();
  /** Scheme and host that an insecure registry was seen to answer on. */
  const bases = new Map<string, string>();

  const isInsecure = async (host: string): Promise<boolean> => {
    const name = hostname(host);
    if (name === "localhost" || insecure.hosts.has(host.toLowerCase())) return true;
    if (isIP(name) !== 0) return insecure.contains(name);
    if (!insecure.resolves) return false;
    const addresses = await lookup(name, { all: true }).catch(() => []);
    return addresses.some(({ address }) => insecure.contains(address));
  };

  const own: Endpoints["own"] = async (domain, signal) => {
    const host = domain === hubDomain ? hubHost : domain;
    const loose = await isInsecure(host);
    const tls = await certificates.of(host, loose);
    if (!loose) return { base: `https://${host}`, mirror: false, tls };
    const base = bases.get(host) ?? (await probe(host, tls, options.stallTimeout, signal));
    bases.set(host, base);
    return { base, mirror: false, tls };
  };

  return {
    own,
    mirrors: async (domain) => {
      const reachable = mirrorsFor(mirrors, domain).filter(({ base }) => (leftOut.get(base) ?? 0) <= Date.now());
      return await Promise.all(
        reachable.map(async ({ base, namespace }) => {
          const { host } = new URL(base);
          const tls = await certificates.of(host, await isInsecure(host));
          return { base, mirror: true, tls, ...(namespace !== undefined && { namespace }) };
        }),
      );
    },
    forget: ({ base, mirror }) => {
      bases.delete(new URL(base).host);
      if (mirror) leftOut.set(base, Date.now() + LEFT_OUT);
    },
    isInsecure,
  };
}

/** Host without port and brackets. */
function hostname(host: string): string {
  const bracketed = /^\[(.*)\](?::\d+)?$/.exec(host);
  return (bracketed === null ? host.replace(/:\d+$/, "") : bracketed[1]!).toLowerCase();
}

interface InsecureList {
  hosts: Set<string>;
  /** Whether names must be looked up, because the administrator gave networks beyond loopback. */
  resolves: boolean;
  contains(address: string): boolean;
}

function parseInsecure(entries: readonly string[]): InsecureList {
  const list = new BlockList();
  list.addSubnet("127.0.0.0", 8, "ipv4");
  list.addAddress("::1", "ipv6");
  const hosts = new Set<string>();
  let resolves = false;
  for (const entry of entries) {
    const cidr = /^([0-9a-fA-F.:]+)\/(\d{1,3})$/.exec(entry);
    const family = cidr === null ? 0 : isIP(cidr[1]!);
    if (cidr !== null && family !== 0 && Number(cidr[2]) <= (family === 4 ? 32 : 128)) {
      list.addSubnet(cidr[1]!, Number(cidr[2]), family === 4 ? "ipv4" : "ipv6");
      resolves = true;
      continue;
    }
    const host = entry.replace(/^https?:\/\//, "").replace(/\/$/, "");
    if (!/^(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d+)?$/.test(host))
      throw invalidArgument(`insecure registry ${JSON.stringify(entry)} is neither a host nor a network`);
    hosts.add(host.toLowerCase());
  }
  return { hosts, resolves, contains: (address) => list.check(address, isIP(address) === 6 ? "ipv6" : "ipv4") };
}

function parseMirror(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== "http:" && url.protocol !== "https:") || url.search !== "" || url.hash !== "" || url.username !== "") {
    throw invalidArgument(`invalid mirror: ${JSON.stringify(text)} must be an http or https URL without query, fragment and user`);
  }
  return url.href.replace(/\/+$/, "");
}

function parseMirrors({ mirrors, mirrorsOf = {} }: Pick<EndpointOptions, "mirrors" | "mirrorsOf">): Map<string, string[]> {
  const parsed = new Map<string, string[]>();
  for (const [registry, urls] of Object.entries(mirrorsOf)) {
    if (registry !== everyRegistry && !/^(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d+)?$/.test(registry))
      throw invalidArgument(`invalid mirror: ${JSON.stringify(registry)} is no registry: want a host, or * for all`);
    parsed.set(registry.toLowerCase(), urls.map(parseMirror));
  }
  const ofHub = [...mirrors.map(parseMirror), ...(parsed.get(hubDomain) ?? [])];
  if (ofHub.length > 0) parsed.set(hubDomain, ofHub);
  return parsed;
}

function mirrorsFor(mirrors: ReadonlyMap<string, readonly string[]>, domain: string): { base: string; namespace?: string }[] {
  const own = mirrors.get(domain.toLowerCase());
  if (own !== undefined) return own.map((base) => ({ base }));
  return (mirrors.get(everyRegistry) ?? []).map((base) => ({ base, namespace: domain }));
}

/** Loopback registries speak plain http nearly always; elsewhere https is tried first, so that a password takes the safer way. */
async function probe(host: string, tls: TlsOptions, stallTimeout: number, signal?: AbortSignal): Promise<string> {
  const name = hostname(host);
  const loopback = name === "localhost" || name === "::1" || name.startsWith("127.");
  const schemes = loopback ? ["http", "https"] : ["https", "http"];
  let fallback: string | undefined;
  let failure: unknown;
  for (const scheme of schemes) {
    const base = `${scheme}://${host}`;
    try {
      using exchange = await send({ method: "GET", url: `${base}/v2/`, tls, stallTimeout: Math.min(stallTimeout, 15_000), ...(signal && { signal }) });
      // TLS servers answer plain http with a 400.
      if (exchange.status !== 400) return base;
      fallback ??= base;
    } catch (error) {
      if (!isConnectionFailure(error)) throw error;
      if (failure === undefined || scheme === "http") failure = error;
    }
  }
  if (fallback !== undefined) return fallback;
  throw failure;
}

function isConnectionFailure(error: unknown): error is RegistryError {
  return isTemporary(error) || (error as RegistryError).name === "RegistryError";
}
