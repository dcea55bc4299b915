import { invalidArgument } from "../lib/errors.ts";
import type { Platform } from "../oci/image.ts";
import type { Query } from "./query.ts";
import type { ApiVersion } from "./versions.ts";

/** An OCI platform as JSON, as the newer endpoints take it. @throws EngineError invalidArgument in Docker's words (moby: httputils/form.go) */
export function decodePlatform(text: string): Platform {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalidArgument(`failed to parse platform ${JSON.stringify(text.slice(0, 100))}: want an OCI platform as JSON`, error);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalidArgument("failed to parse platform: want a JSON object");
  const { os = "", architecture = "", variant = "", "os.version": version = "", "os.features": features = [] } = value as Record<string, unknown>;
  const texts = [os, architecture, variant, version];
  if (!texts.every((each) => typeof each === "string")) throw invalidArgument("failed to parse platform: os, architecture, variant and os.version are strings");
  if (features !== null && !Array.isArray(features)) throw invalidArgument("failed to parse platform: os.features is a list of strings");
  if (os === "" && architecture === "" && (variant !== "" || version !== "" || (features ?? []).length > 0)) {
    throw invalidArgument("optional platform fields provided, but OS and Architecture are missing");
  }
  if (os === "" || architecture === "") throw invalidArgument("both OS and Architecture must be provided");
  return { os: os as string, architecture: architecture as string, ...(variant === "" ? {} : { variant: variant as string }) };
}

/** `platform`, which may be missing or empty. */
export function platformParam(query: Query, api: ApiVersion, since: ApiVersion): Platform | undefined {
  const text = api < since ? undefined : query.optional("platform");
  return text === undefined ? undefined : decodePlatform(text);
}

/** `platform` of save and load: one since 1.48, several since 1.52. */
export function platformsParam(query: Query, api: ApiVersion): Platform[] {
  const texts = api < 48 ? [] : query.all("platform");
  if (texts.length > 1 && api < 52) {
    throw invalidArgument("multiple platform parameters are not supported in this API version; use API version 1.52 or later");
  }
  return texts.map(decodePlatform);
}
