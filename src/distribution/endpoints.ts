import { lookup } from "node:dns/promises";
import { BlockList, isIP } from "node:net";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { invalidArgument } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { isTemporary, type RegistryError } from "./errors.ts";
import { send, type TlsOptions } from "./transport.ts";

/** One place to ask for a repository. */
export interface Endpoint {
  /** `https://host:port`, or a mirror's address with its prefix; no trailing slash. */
  base: string;
  mirror: boolean;
  tls: TlsOptions;
}

export interface Endpoints {
  /** Where to look for a repository of `domain`, in order: mirrors first (when reading), then the registry itself. */
  of(domain: string, purpose: "pull" | "push", signal?: AbortSignal): Promise<Endpoint[]>;
  /** Called after a failed connection: the next look-up asks again which scheme the host speaks. */
  forget(endpoint: Endpoint): void;
  isInsecure(host: string): Promise<boolean>;
}

export interface EndpointOptions {
  /** Hosts (`host[:port]`) and CIDRs. */
  insecure: readonly string[];
  /** URLs of mirrors of docker.io. */
  mirrors: readonly string[];
  /** Folders with `<host>/*.crt, *.cert, *.key`, as /etc/docker/certs.d. */
  certificates: readonly string[];
  stallTimeout: number;
  log: Logger;
}

const hubDomain = "docker.io";
const hubHost = "registry-1.docker.io";

/** @throws EngineError invalidArgument for a mirror or an insecure registry that doesn't parse */
export function createEndpoints(options: EndpointOptions): Endpoints {
  const insecure = parseInsecure(options.insecure);
  const mirrors = options.mirrors.map(parseMirror);
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

  const endpointOf = async (domain: string, signal?: AbortSignal): Promise<Endpoint> => {
    const host = domain === hubDomain ? hubHost : domain;
    const loose = await isInsecure(host);
    const tls: TlsOptions = { insecure: loose, ...(await readCertificates(options.certificates, host)) };
    if (!loose) return { base: `https://${host}`, mirror: false, tls };
    const base = bases.get(host) ?? (await probe(host, tls, options.stallTimeout, signal));
    bases.set(host, base);
    return { base, mirror: false, tls };
  };

  return {
    of: async (domain, purpose, signal) => {
      const found: Endpoint[] = [];
      if (domain === hubDomain && purpose === "pull") {
        for (const base of mirrors) {
          const { host } = new URL(base);
          const tls: TlsOptions = { insecure: await isInsecure(host), ...(await readCertificates(options.certificates, host)) };
          found.push({ base, mirror: true, tls });
        }
      }
      found.push(await endpointOf(domain, signal));
      return found;
    },
    forget: ({ base }) => {
      bases.delete(new URL(base).host);
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

async function readCertificates(folders: readonly string[], host: string): Promise<Partial<TlsOptions>> {
  for (const folder of folders) {
    const directory = join(folder, host);
    const names = await readdir(directory).catch(() => undefined);
    if (names === undefined) continue;
    const read = async (suffix: string): Promise<string[]> =>
      await Promise.all(
        names
          .filter((name) => name.endsWith(suffix))
          .sort()
          .map((name) => readFile(join(directory, name), "utf8")),
      );
    const [ca, cert, key] = [await read(".crt"), await read(".cert"), await read(".key")];
    return { ...(ca.length > 0 && { ca }), ...(cert[0] !== undefined && key[0] !== undefined && { cert: cert[0], key: key[0] }) };
  }
  return {};
}
