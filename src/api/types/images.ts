import type { Descriptor, ImageRunConfig, Platform } from "../../oci/image.ts";

/** Wire shapes of images, under Docker's names. */

/** `GET /images/json` */
export interface ImageSummary {
  Id: string;
  ParentId: string;
  RepoTags: string[];
  RepoDigests: string[];
  /** Unix seconds. */
  Created: number;
  Size: number;
  VirtualSize?: number;
  SharedSize: number;
  Labels: Record<string, string> | null;
  Containers: number;
  /** What the names stand for: an index or a manifest. */
  Descriptor?: Descriptor;
  Manifests?: ImageManifestSummary[];
}

/** Sizes are bytes. */
export interface ImageManifestSummary {
  ID: string;
  Descriptor: Descriptor;
  Available: boolean;
  Size: { Content: number; Total: number };
  Kind: "image" | "attestation" | "unknown";
  ImageData?: { Platform: Platform; Identity?: ImageIdentity; Containers: string[]; Size: { Unpacked: number } };
  AttestationData?: { For: string };
}

/** Where an image comes from, as far as the engine itself has seen it. */
export interface ImageIdentity {
  Pull?: { Repository: string }[];
}

/** `GET /images/{name}/attestations` */
export interface AttestationStatement {
  Descriptor: Descriptor;
  PredicateType: string;
  Statement?: unknown;
}

/** `GET /images/{name}/json` */
export interface ImageInspect {
  Id: string;
  Descriptor?: Descriptor;
  Manifests?: ImageManifestSummary[];
  Identity?: ImageIdentity;
  RepoTags: string[];
  RepoDigests: string[];
  Parent?: string;
  Comment?: string;
  Created?: string;
  Container?: string;
  ContainerConfig?: unknown;
  DockerVersion?: string;
  Author?: string;
  Config: ImageRunConfig | null;
  Architecture: string;
  Variant?: string;
  Os: string;
  OsVersion?: string;
  Size: number;
  VirtualSize?: number;
  GraphDriver: { Name: string; Data: Record<string, string> | null };
  RootFS: { Type: string; Layers: string[] };
  Metadata: { LastTagTime: string };
}

/** `GET /images/{name}/history` */
export interface ImageHistoryItem {
  Id: string;
  Created: number;
  CreatedBy: string;
  Tags: string[] | null;
  Size: number;
  Comment: string;
}

/** `GET /images/search` */
export interface SearchResultItem {
  star_count: number;
  is_official: boolean;
  name: string;
  /** Always false. */
  is_automated: boolean;
  description: string;
}
