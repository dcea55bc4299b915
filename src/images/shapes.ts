import { invalidArgument } from "../lib/errors.ts";
import { isDigest } from "../oci/digest.ts";
import type { Descriptor, ImageConfig, Index, Manifest } from "../oci/image.ts";

/**
 * Documents that came from a registry or an archive, checked before anything relies on their shape. Go's null for an empty list or map is taken as
 * absent, unknown fields stay. All throw EngineError invalidArgument, with `name` in the sentence.
 */
type Fields = Record<string, unknown>;

function fieldsOf(value: unknown, what: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalidArgument(`${what} is no object`);
  return value as Fields;
}

function optional(fields: Fields, key: string, what: string, good: (value: unknown) => boolean): void {
  const value = fields[key];
  if (value !== undefined && value !== null && !good(value)) throw invalidArgument(`${what} has a bad ${key}`);
}

const isText = (value: unknown): boolean => typeof value === "string";
const isTexts = (value: unknown): boolean => Array.isArray(value) && value.every(isText);
const isObject = (value: unknown): boolean => typeof value === "object" && value !== null && !Array.isArray(value);
const isTextMap = (value: unknown): boolean => isObject(value) && Object.values(value as object).every(isText);

/** An image's config. */
export function checkedConfig(value: unknown, name: string): ImageConfig {
  const what = `${name}: the config`;
  const config = fieldsOf(value, what);
  for (const key of ["os", "architecture", "variant", "created", "author", "comment"]) optional(config, key, what, isText);
  if (config["os"] !== undefined && config["os"] !== "" && config["os"] !== "linux")
    throw invalidArgument(`${name}: cannot load ${String(config["os"])} image on linux`);
  optional(config, "history", what, (list) => Array.isArray(list) && list.every(isObject));
  optional(config, "rootfs", what, isObject);
  const diffIds = ((config["rootfs"] ?? {}) as Fields)["diff_ids"] ?? [];
  if (!Array.isArray(diffIds) || !diffIds.every((id) => typeof id === "string" && isDigest(id))) throw invalidArgument(`${what} has bad diff_ids`);
  optional(config, "config", what, isObject);
  const run = (config["config"] ?? {}) as Fields;
  for (const key of ["Env", "Cmd", "Entrypoint", "OnBuild", "Shell"]) optional(run, key, what, isTexts);
  for (const key of ["User", "WorkingDir", "StopSignal"]) optional(run, key, what, isText);
  for (const key of ["ExposedPorts", "Volumes", "Healthcheck"]) optional(run, key, what, isObject);
  optional(run, "Labels", what, isTextMap);
  return { ...config, rootfs: { type: "layers", diff_ids: diffIds } } as unknown as ImageConfig;
}

function isDescriptor(value: unknown): value is Descriptor {
  if (!isObject(value)) return false;
  const { digest, mediaType, annotations } = value as Fields;
  if (annotations !== undefined && annotations !== null && !isTextMap(annotations)) return false;
  return typeof digest === "string" && isDigest(digest) && (mediaType === undefined || typeof mediaType === "string");
}

/** A manifest or an index, told by what it has. */
export function checkedManifest(value: unknown, name: string): { kind: "manifest"; manifest: Manifest } | { kind: "index"; index: Index } {
  const document = fieldsOf(value, name);
  const { manifests, layers, config } = document;
  if (Array.isArray(manifests)) {
    if (!manifests.every(isDescriptor)) throw invalidArgument(`${name} names a manifest without a digest`);
    return { kind: "index", index: { ...document, manifests: manifests.map(withGoodPlatform) } as unknown as Index };
  }
  if (!Array.isArray(layers) || !layers.every(isDescriptor) || !isDescriptor(config)) throw invalidArgument(`${name} is no image manifest`);
  return { kind: "manifest", manifest: document as unknown as Manifest };
}

function withGoodPlatform(descriptor: Descriptor): Descriptor {
  const { os, architecture, variant } = (descriptor.platform ?? {}) as Fields;
  if (isText(os) && isText(architecture) && (variant === undefined || isText(variant))) return descriptor;
  const { platform: _, ...rest } = descriptor;
  return rest;
}
