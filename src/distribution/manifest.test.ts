import { describe, expect, test } from "bun:test";
import { kindOf } from "../lib/errors.ts";
import { digestLike, digestOf } from "../oci/digest.ts";
import { mediaTypes } from "../oci/image.ts";
import { parseManifest } from "./manifest.ts";

const config = { mediaType: mediaTypes.ociConfig, digest: digestOf("config"), size: 6 };
const layer = { mediaType: mediaTypes.ociLayerGzip, digest: digestOf("layer"), size: 5 };
const image = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: [layer] };
const index = {
  schemaVersion: 2,
  manifests: [{ mediaType: mediaTypes.ociManifest, digest: digestOf("m"), size: 1, platform: { os: "linux", architecture: "amd64" } }],
};

const parse = (document: unknown, contentType: string | null = null): ReturnType<typeof parseManifest> =>
  parseManifest(new TextEncoder().encode(typeof document === "string" ? document : JSON.stringify(document)), contentType, "x:1");

test("images and indexes are told apart by what they say", () => {
  expect(parse(image).document.kind).toBe("manifest");
  expect(parse(image, "application/json")).toMatchObject({ mediaType: mediaTypes.ociManifest });
  expect(parse({ ...image, mediaType: undefined }, `${mediaTypes.dockerManifest}; charset=utf-8`).mediaType).toBe(mediaTypes.dockerManifest);
  expect(parse({ ...image, mediaType: undefined }).mediaType).toBe(mediaTypes.ociManifest);
  expect(parse(index, mediaTypes.dockerIndex)).toMatchObject({ mediaType: mediaTypes.dockerIndex, document: { kind: "index" } });
  expect(parse(index).mediaType).toBe(mediaTypes.ociIndex);
});

describe("refused", () => {
  const rows: [what: string, document: unknown, contentType: string | null, kind: string, text: RegExp][] = [
    ["no JSON", "<html>", null, "unavailable", /no JSON/],
    ["a list", [], null, "unavailable", /no JSON object/],
    [
      "schema 1",
      { schemaVersion: 1, name: "x" },
      "application/vnd.docker.distribution.manifest.v1+prettyjws",
      "invalidArgument",
      /schema 1, which is no longer supported/,
    ],
    ["no version", { ...image, schemaVersion: undefined }, null, "unavailable", /schemaVersion/],
    ["another type in the header", image, mediaTypes.dockerManifest, "unavailable", /calls the manifest/],
    ["an unknown type", { ...image, mediaType: "application/x" }, null, "invalidArgument", /unsupported manifest media type/],
    ["image and index in one", { ...image, manifests: [] }, null, "unavailable", /manifests too/],
    ["index and image in one", { ...index, mediaType: mediaTypes.ociIndex, layers: [] }, null, "unavailable", /layers or a config/],
    ["no config", { ...image, config: undefined }, null, "unavailable", /bad digest/],
    ["a path as digest", { ...image, layers: [{ ...layer, digest: "sha256:../../etc" }] }, null, "unavailable", /bad digest/],
    ["a negative size", { ...image, layers: [{ ...layer, size: -1 }] }, null, "unavailable", /bad size/],
    ["a fractional size", { ...image, layers: [{ ...layer, size: 1.5 }] }, null, "unavailable", /bad size/],
    ["a size as text", { ...image, layers: [{ ...layer, size: "5" }] }, null, "unavailable", /bad size/],
    ["layers that are no list", { ...image, layers: {} }, null, "unavailable", /missing/],
    ["a platform without os", { ...index, manifests: [{ ...index.manifests[0], platform: { architecture: "x" } }] }, null, "unavailable", /bad platform/],
    ["null as layer", { ...image, layers: [null] }, null, "unavailable", /bad digest/],
  ];
  for (const [what, document, contentType, kind, text] of rows) {
    test(what, () => {
      let error: unknown;
      try {
        parse(document, contentType);
      } catch (caught) {
        error = caught;
      }
      expect(kindOf(error)).toBe(kind as never);
      expect((error as Error).message).toMatch(text);
    });
  }
});

test("sha512 digests", () => {
  const bytes = new TextEncoder().encode("x");
  expect(digestLike(bytes, `sha512:${"0".repeat(128)}` as never)).toMatch(/^sha512:[0-9a-f]{128}$/);
  expect(digestLike(bytes, digestOf("y"))).toBe(digestOf("x"));
});
