import type { Digest } from "../oci/digest.ts";
import type { Descriptor } from "../oci/image.ts";

/** One image in a docker-archive's manifest.json. */
export interface ArchiveImage {
  Config: string;
  RepoTags: string[] | null;
  /** Paths in the archive, lowest first. */
  Layers: string[];
}

/** Annotations of an index entry that name the image (containerd's, and OCI's). */
export const nameAnnotation = "io.containerd.image.name";
export const refNameAnnotation = "org.opencontainers.image.ref.name";

export interface ArchiveIndex {
  schemaVersion: 2;
  mediaType: string;
  manifests: Descriptor[];
}

/** Where an OCI layout keeps a blob. */
export function blobPath(digest: Digest): string {
  return `blobs/${digest.replace(":", "/")}`;
}
