import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { tarOf } from "../../src/lib/tar-writer.ts";
import { digestOf, hexOf, type Digest } from "../../src/oci/digest.ts";
import { mediaTypes, type Descriptor } from "../../src/oci/image.ts";

/** This host's, and one that it can't run. */
export const own = process.arch === "arm64" ? "arm64" : "amd64";
export const foreign = own === "arm64" ? "amd64" : "arm64";

export interface MultiPlatform {
  /** An OCI layout in a tar. */
  archive: Buffer;
  index: Descriptor;
  /** By architecture. */
  manifests: Record<string, Descriptor>;
  configs: Record<string, Digest>;
  attestations: Record<string, Descriptor>;
}

/**
 * An index of images for some architectures, as BuildKit makes it: this host's busybox and a file `/arch` in each, and a statement attested of each.
 * `name` as in `docker.io/library/x:1`.
 */
export function multiPlatform(name: string, architectures: readonly string[]): MultiPlatform {
  const blobs = new Map<Digest, Uint8Array | string>();
  const add = (bytes: Uint8Array | string, mediaType: string): Descriptor => {
    const digest = digestOf(bytes);
    blobs.set(digest, bytes);
    return { mediaType, digest, size: Buffer.byteLength(bytes as string) };
  };
  const document = (content: object, mediaType: string): Descriptor => add(JSON.stringify({ schemaVersion: 2, mediaType, ...content }), mediaType);
  const made: Omit<MultiPlatform, "archive" | "index"> = { manifests: {}, configs: {}, attestations: {} };
  const shared = tarOf([
    { name: "bin", type: "directory", mode: 0o755 },
    { name: "bin/busybox", type: "file", mode: 0o755, body: new Uint8Array(readFileSync("/bin/busybox")) },
    ...["sh", "cat"].map((applet) => ({ name: `bin/${applet}`, type: "symlink" as const, linkName: "busybox" })),
  ]);
  const base = add(gzipSync(shared), mediaTypes.ociLayerGzip);
  const entries: Descriptor[] = [];
  const attested: Descriptor[] = [];
  for (const architecture of architectures) {
    const platform = { architecture, os: "linux" };
    const tar = tarOf([{ name: "arch", type: "file", mode: 0o644, body: architecture }]);
    const config = add(
      JSON.stringify({
        ...platform,
        created: "2024-01-01T00:00:00Z",
        config: { Cmd: ["cat", "/arch"], Env: ["PATH=/bin"], Labels: { arch: architecture } },
        rootfs: { type: "layers", diff_ids: [digestOf(shared), digestOf(tar)] },
        history: [{ created_by: "base" }, { created_by: `arch ${architecture}` }],
      }),
      mediaTypes.ociConfig,
    );
    const manifest = document({ config, layers: [base, add(gzipSync(tar), mediaTypes.ociLayerGzip)] }, mediaTypes.ociManifest);
    const statement = add(JSON.stringify({ _type: "https://in-toto.io/Statement/v0.1", predicate: { architecture } }), "application/vnd.in-toto+json");
    const about = document(
      {
        config: add(JSON.stringify({ architecture: "unknown", os: "unknown", rootfs: { type: "layers", diff_ids: [statement.digest] } }), mediaTypes.ociConfig),
        layers: [{ ...statement, annotations: { "in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2" } }],
      },
      mediaTypes.ociManifest,
    );
    const annotations = { "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": manifest.digest };
    entries.push({ ...manifest, platform });
    attested.push({ ...about, annotations, platform: { architecture: "unknown", os: "unknown" } });
    made.manifests[architecture] = manifest;
    made.configs[architecture] = config.digest;
    made.attestations[architecture] = about;
  }
  const index = document({ manifests: [...entries, ...attested] }, mediaTypes.ociIndex);
  const top = { schemaVersion: 2, manifests: [{ ...index, annotations: { "io.containerd.image.name": name } }] };
  const archive = tarOf([
    { name: "oci-layout", type: "file", body: `{"imageLayoutVersion":"1.0.0"}` },
    { name: "index.json", type: "file", body: JSON.stringify(top) },
    ...[...blobs].map(([digest, body]) => ({ name: `blobs/sha256/${hexOf(digest)}`, type: "file" as const, body })),
  ]);
  return { ...made, archive: Buffer.from(archive), index };
}
