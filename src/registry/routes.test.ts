import { describe, expect, test } from "bun:test";
import { digestOf } from "../oci/digest.ts";
import { Fault } from "./faults.ts";
import { parseRoute } from "./routes.ts";

const digest = digestOf("x");

describe("paths", () => {
  const rows: [path: string, want: ReturnType<typeof parseRoute>][] = [
    ["/v2/", { kind: "root" }],
    ["/v2/_catalog", { kind: "catalog" }],
    ["/v2/a/tags/list", { kind: "tags", name: "a" }],
    ["/v2/a/b/manifests/latest", { kind: "manifest", name: "a/b", tag: "latest" }],
    [`/v2/a/manifests/${digest}`, { kind: "manifest", name: "a", digest }],
    [`/v2/a/manifests/${digest.replace(":", "%3A")}`, { kind: "manifest", name: "a", digest }],
    [`/v2/a/blobs/${digest}`, { kind: "blob", name: "a", digest }],
    ["/v2/a/blobs/uploads/", { kind: "uploads", name: "a" }],
    ["/v2/a/blobs/uploads", { kind: "uploads", name: "a" }],
    ["/v2/a/blobs/uploads/some-id", { kind: "upload", name: "a", id: "some-id" }],
    [`/v2/a/referrers/${digest}`, { kind: "referrers", name: "a", digest }],
    ["/v2/tags/list/tags/list", { kind: "tags", name: "tags/list" }],
    ["/", undefined],
    ["/v1/", undefined],
    ["/v2//tags/list", undefined],
    ["/v2/a/blobs/sha256:..%2f..%2fetc", undefined],
    ["/v2/a", undefined],
    [`/v2/${"a".repeat(3000)}/tags/list`, undefined],
  ];
  for (const [path, want] of rows) test(path.slice(0, 60), () => expect(parseRoute(path)).toEqual(want));
});

describe("refused", () => {
  const rows: [path: string, code: string][] = [
    ["/v2/../x/tags/list", "NAME_INVALID"],
    ["/v2/a/../b/tags/list", "NAME_INVALID"],
    ["/v2/%2e%2e/tags/list", "NAME_INVALID"],
    ["/v2/A/tags/list", "NAME_INVALID"],
    ["/v2/a%00b/tags/list", "NAME_INVALID"],
    ["/v2/a%/tags/list", "NAME_INVALID"],
    ["/v2/a/manifests/.x", "TAG_INVALID"],
    ["/v2/a/manifests/sha256:xyz", "DIGEST_INVALID"],
    ["/v2/a/blobs/nonsense", "DIGEST_INVALID"],
  ];
  for (const [path, code] of rows) {
    test(path, () => {
      let fault: unknown;
      try {
        parseRoute(path);
      } catch (error) {
        fault = error;
      }
      expect(fault).toBeInstanceOf(Fault);
      expect((fault as Fault).code).toBe(code as never);
    });
  }
});
