import type { ImageRecord } from "../images/types.ts";
import { formatPlatform, hostPlatform, normalizePlatform } from "../oci/platform.ts";

/** An image of another processor runs where the host emulates that; Docker's words. */
export function platformWarnings({ config: { os, architecture, variant } }: Pick<ImageRecord, "config">): string[] {
  const platform = normalizePlatform({ os: os || "linux", architecture, ...(variant ? { variant } : {}) });
  const host = hostPlatform();
  if (!architecture || (platform.os === host.os && platform.architecture === host.architecture)) return [];
  const shown = [platform, host].map(formatPlatform);
  return [`The requested image's platform (${shown[0]}) does not match the detected host platform (${shown[1]}) and no specific platform was requested`];
}
