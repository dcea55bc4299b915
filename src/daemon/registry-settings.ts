import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { RegistryPlaces } from "../distribution/types.ts";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import type { CacheConfig } from "../registry/cache.ts";
import { parseRegistryConfig, type RegistryConfig } from "../registry/config.ts";
import type { Auth } from "../registry/guard.ts";
import { openPasswords } from "../registry/htpasswd.ts";
import { readIssuerKeys } from "../registry/issuer-keys.ts";
import type { RegistrySettings } from "../registry/server.ts";
import type { Upstream } from "../registry/upstreams.ts";

/** The settings of the file at `path`, if there is one, under those of `over`. @throws EngineError invalidArgument */
export function readRegistryConfig(path: string | undefined, over: Record<string, unknown> = {}): RegistryConfig {
  try {
    return parseRegistryConfig(path === undefined ? "" : readFileSync(path, "utf8"), over);
  } catch (error) {
    throw invalidArgument(path === undefined ? messageOf(error) : `${path}: ${messageOf(error)}`, error);
  }
}

/**
 * Reads what the settings name. `secret` signs the registry's own tokens.
 * @throws EngineError invalidArgument where one of the files is no good
 */
export async function loadRegistrySettings(config: RegistryConfig, secret: Uint8Array, log: Logger): Promise<RegistrySettings> {
  return {
    auth: await authOf(config, secret, log),
    ...(config.access && { access: config.access }),
    readOnly: config["read-only"],
    gc: config.gc,
    cache: await cacheOf(config),
    quota: {
      ...(config.quota.total !== undefined && { total: config.quota.total }),
      ...(config.quota.repository !== undefined && { repository: config.quota.repository }),
      repositories: config.quota.repositories,
    },
  };
}

async function authOf({ auth = {}, access }: RegistryConfig, secret: Uint8Array, log: Logger): Promise<Auth> {
  if (auth.token !== undefined) {
    const { realm, service, issuer, rootcertbundle, jwks } = auth.token;
    const keys = readIssuerKeys({
      ...(rootcertbundle !== undefined && { rootCertificates: await readText(rootcertbundle, "auth.token.rootcertbundle") }),
      ...(jwks !== undefined && { jwks: await readText(jwks, "auth.token.jwks") }),
    });
    return { kind: "outside", realm, service, issuer, keys };
  }
  if (auth.htpasswd === undefined) return { kind: "none" };
  const { path, realm, challenge, "token-lifetime": lifetime, "token-realm": tokenRealm } = auth.htpasswd;
  const passwords = await openPasswords(path, log);
  // Docker's client sends nothing at all where it is asked for a password and has none: who may come without one needs a token.
  const byToken = challenge === undefined ? (access?.rules.some(({ anonymous }) => anonymous) ?? false) : challenge === "token";
  if (!byToken) return { kind: "basic", realm, passwords };
  return { kind: "own", passwords, secret, lifetimeSeconds: Math.max(60, Math.floor(lifetime / 1000)), ...(tokenRealm !== undefined && { realm: tokenRealm }) };
}

async function cacheOf({ cache }: RegistryConfig): Promise<CacheConfig> {
  const upstreams = cache.upstreams.map(async (each, at): Promise<Upstream> => {
    const { prefix, registry, username, password, "password-file": path } = each;
    const read = path === undefined ? password : (await readText(path, `cache.upstreams.${at}.password-file`)).trim();
    return { prefix, registry, ...(username !== undefined && { username, password: read ?? "" }) };
  });
  return { upstreams: await Promise.all(upstreams), revalidate: cache.revalidate, ...(cache["max-size"] !== undefined && { maxSize: cache["max-size"] }) };
}

/** For the client of the registries that copies are made of. It has no mirrors: an engine whose mirror is its own registry would ask itself. */
export function upstreamPlaces({ cache }: RegistryConfig): RegistryPlaces {
  return { insecure: cache.upstreams.filter(({ insecure }) => insecure).map(({ registry }) => registry), mirrors: [] };
}

async function readText(path: string, setting: string): Promise<string> {
  return await readFile(path, "utf8").catch((error: unknown) => {
    throw invalidArgument(`${setting}: ${messageOf(error)}`, error);
  });
}

/** Certificate and key. @throws EngineError invalidArgument */
export async function readRegistryTls({ tls }: RegistryConfig): Promise<{ cert: string; key: string } | undefined> {
  return tls && { cert: await readText(tls.cert, "tls.cert"), key: await readText(tls.key, "tls.key") };
}

/** The secret in the file at `path`, made at first: tokens outlive a restart, so that a push in the middle goes on. */
export function tokenSecret(path: string): Uint8Array {
  if (!existsSync(path)) writeFileSync(path, crypto.getRandomValues(new Uint8Array(32)), { mode: 0o600, flag: "wx" });
  return readFileSync(path);
}
