import { isDigest } from "../oci/digest.ts";
import { mediaTypes, type Descriptor, type Index, type Manifest } from "../oci/image.ts";
import { invalidArgument } from "../lib/errors.ts";
import { misbehaviour } from "./errors.ts";
import type { RemoteManifest } from "./types.ts";

/** The size that registries allow a manifest (distribution-spec, "Pushing Manifests"). */
export const maxManifestSize = 4 * 1024 * 1024;

export const manifestTypes: readonly string[] = [mediaTypes.ociManifest, mediaTypes.dockerManifest];
export const indexTypes: readonly string[] = [mediaTypes.ociIndex, mediaTypes.dockerIndex];
/** Of one image; more is an attack: overlay takes 500. */
const maxEntries = 10_000;

/**
 * Reads a manifest or index. The body says what it is; a Content-Type that says otherwise is refused, as is a body that could be read
 * as both (GHSA-77vh-xpmg-72qh). `where` names it in errors.
 * @throws EngineError invalidArgument for what Berth can't use, RegistryError for what is broken
 */
export function parseManifest(bytes: Uint8Array, contentType: string | null, where: string): { mediaType: string; document: RemoteManifest["document"] } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw misbehaviour(`the manifest of ${where} is no JSON`, error);
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) throw misbehaviour(`the manifest of ${where} is no JSON object`);
  const document = parsed as Record<string, unknown>;
  if (document.schemaVersion === 1) {
    throw invalidArgument(
      `${where} is in Docker image manifest version 2, schema 1, which is no longer supported: ask its author to push it in the OCI format or as schema 2`,
    );
  }
  if (document.schemaVersion !== 2)
    throw misbehaviour(`the manifest of ${where} has schemaVersion ${JSON.stringify(document.schemaVersion)?.slice(0, 40)}, want 2`);
  const mediaType = mediaTypeOf(document, contentType, where);
  if (indexTypes.includes(mediaType)) {
    if ("layers" in document || "config" in document) throw misbehaviour(`the index of ${where} has layers or a config too`);
    checkDescriptors(document.manifests, `the index of ${where}`);
    return { mediaType, document: { kind: "index", index: document as unknown as Index } };
  }
  if ("manifests" in document) throw misbehaviour(`the manifest of ${where} has manifests too`);
  checkDescriptors([document.config], `the config of ${where}`);
  checkDescriptors(document.layers, `the layers of ${where}`);
  return { mediaType, document: { kind: "manifest", manifest: document as unknown as Manifest } };
}

function mediaTypeOf(document: Record<string, unknown>, contentType: string | null, where: string): string {
  const known = [...manifestTypes, ...indexTypes];
  const said = typeof document.mediaType === "string" && document.mediaType !== "" ? document.mediaType : undefined;
  const header = contentType?.split(";", 1)[0]!.trim().toLowerCase();
  if (said !== undefined && !known.includes(said)) throw invalidArgument(`unsupported manifest media type ${JSON.stringify(said.slice(0, 100))} of ${where}`);
  if (said !== undefined && header !== undefined && known.includes(header) && header !== said) {
    throw misbehaviour(`the registry calls the manifest of ${where} ${header}, but it is ${said}`);
  }
  if (said !== undefined) return said;
  if (header !== undefined && known.includes(header)) return header;
  return "manifests" in document ? mediaTypes.ociIndex : mediaTypes.ociManifest;
}

function checkDescriptors(list: unknown, what: string): asserts list is Descriptor[] {
  if (!Array.isArray(list) || list.length > maxEntries) throw misbehaviour(`${what}: missing, or too many`);
  for (const item of list as unknown[]) {
    const { digest, size, mediaType, platform } = (item ?? {}) as Record<string, unknown>;
    if (typeof digest !== "string" || !isDigest(digest)) throw misbehaviour(`${what}: bad digest`);
    if (!Number.isSafeInteger(size) || (size as number) < 0) throw misbehaviour(`${what}: bad size of ${digest}`);
    if (typeof mediaType !== "string") throw misbehaviour(`${what}: no media type of ${digest}`);
    if (platform === undefined || platform === null) continue;
    const { os, architecture, variant } = platform as Record<string, unknown>;
    if (typeof os !== "string" || typeof architecture !== "string" || (variant !== undefined && typeof variant !== "string")) {
      throw misbehaviour(`${what}: bad platform of ${digest}`);
    }
  }
}
