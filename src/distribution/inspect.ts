import type { Descriptor, Platform } from "../oci/image.ts";
import { blobBytes } from "./blob-bytes.ts";
import { misbehaviour } from "./errors.ts";
import type { RemoteRepository } from "./types.ts";

const maxConfigSize = 4 * 1024 * 1024;

/**
 * What `docker manifest inspect` and `GET /distribution/{name}/json` tell of an image that stays where it is: its descriptor, and the platforms
 * it is for, which a single image says in its config only.
 * @throws RegistryError; pullError words it as Docker does
 */
export async function inspectRemote(
  remote: RemoteRepository,
  version: string,
  options: { signal?: AbortSignal } = {},
): Promise<{ descriptor: Descriptor; platforms: Platform[] }> {
  const { descriptor, document } = await remote.manifest(version, options);
  if (document.kind === "index") return { descriptor, platforms: document.index.manifests.flatMap(({ platform }) => platform ?? []) };
  const { config } = document.manifest;
  if (config.size > maxConfigSize) throw misbehaviour(`the config ${config.digest} has ${config.size} bytes; ${maxConfigSize} are allowed`);
  const bytes = await blobBytes(remote, config, options);
  return { descriptor, platforms: platformOf(Buffer.from(bytes).toString("utf8")) };
}

/** Artifacts have configs that say nothing of a platform. */
function platformOf(text: string): Platform[] {
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch {
    return [];
  }
  const { os, architecture, variant } = (config ?? {}) as Record<string, unknown>;
  if (typeof os !== "string" || typeof architecture !== "string") return [];
  return [{ architecture, os, ...(typeof variant === "string" && { variant }) }];
}
