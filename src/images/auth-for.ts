import { parseReference } from "../oci/reference.ts";
import type { RegistryAuth } from "./types.ts";

/** Clients send credentials of all registries, keyed by host; Docker Hub's under its old URL. */
export function authFor(reference: string, auth: Readonly<Record<string, RegistryAuth>>): RegistryAuth | undefined {
  const { domain } = parseReference(reference);
  const host = (key: string): string => key.replace(/^https?:\/\//, "").replace(/\/.*$/, "");
  const names = domain === "docker.io" ? ["index.docker.io", "docker.io", "registry-1.docker.io"] : [domain];
  return Object.entries(auth).find(([key]) => names.includes(host(key)))?.[1];
}
