import type { RegistryAuth } from "../images/types.ts";
import type { Headers } from "./http/head.ts";

/** X-Registry-Auth: base64url of JSON. What can't be read counts as no credentials, as dockerd has it. */
export function registryAuth(headers: Headers): RegistryAuth | undefined {
  const value = decode(headers["x-registry-auth"]);
  return value === undefined ? undefined : toAuth(value);
}

/** X-Registry-Config: credentials by registry host, for builds. */
export function registryConfig(headers: Headers): Record<string, RegistryAuth> {
  const hosts: Record<string, RegistryAuth> = {};
  for (const [host, value] of Object.entries(decode(headers["x-registry-config"]) ?? {})) {
    if (typeof value === "object" && value !== null) hosts[host] = toAuth(value as Record<string, unknown>);
  }
  return hosts;
}

function decode(header: string | undefined): Record<string, unknown> | undefined {
  if (header === undefined || header === "") return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(header, "base64url").toString("utf8"));
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function toAuth(value: Record<string, unknown>): RegistryAuth {
  const auth: RegistryAuth = {};
  for (const name of ["username", "password", "auth", "serveraddress", "identitytoken", "registrytoken"] as const) {
    const field = Object.entries(value).find(([key]) => key.toLowerCase() === name)?.[1];
    if (typeof field === "string" && field !== "") auth[name] = field;
  }
  return auth;
}
