import { authFor } from "../images/auth-for.ts";
import type { ImageRecord } from "../images/types.ts";
import { EngineError } from "../lib/errors.ts";
import { formatPlatform } from "../oci/platform.ts";
import type { Source } from "./plan.ts";
import type { BuildSession } from "./session.ts";

/** The image of FROM or COPY --from; pulled where it isn't here, or always with --pull. Leased for the build. @throws EngineError */
export async function baseImage(session: BuildSession, source: Extract<Source, { kind: "image" }>): Promise<ImageRecord> {
  const { services, options, output, leases } = session;
  const platform = source.platform === undefined ? undefined : formatPlatform(source.platform);
  const local = options.pull && !isId(source.reference) ? undefined : find(session, source.reference, platform);
  const image =
    local ??
    (await services.images.pull(source.reference, {
      auth: authFor(source.reference, options.auth),
      platform,
      onProgress: (message) => output.message(message),
      signal: options.signal,
    }));
  leases.use(services.images.lease(image));
  return image;
}

function isId(reference: string): boolean {
  return /^(?:sha256:)?[0-9a-f]{64}$/.test(reference);
}

function find(session: BuildSession, reference: string, platform: string | undefined): ImageRecord | undefined {
  try {
    return session.services.images.resolve(reference, { platform });
  } catch (error) {
    if (error instanceof EngineError && error.kind === "notFound") return undefined;
    throw error;
  }
}
