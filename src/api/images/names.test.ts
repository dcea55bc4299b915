import { describe, expect, test } from "bun:test";
import { familiarReference } from "../../oci/reference.ts";
import { pullReference } from "./names.ts";

const digest = `sha256:${"a".repeat(64)}`;

describe("pullReference", () => {
  test.each([
    ["busybox", "", "busybox", true],
    ["busybox:", "", "busybox", true],
    ["busybox", "1.36", "busybox:1.36", false],
    ["busybox:1.35", "", "busybox:1.35", false],
    ["busybox:1.35", "1.36", "busybox:1.36", false],
    ["localhost:5000/x/y", "latest", "localhost:5000/x/y:latest", false],
    ["busybox", digest, `busybox@${digest}`, false],
    [`busybox@${digest}`, "", `busybox@${digest}`, false],
    [`busybox@${digest}`, "1.36", `busybox:1.36@${digest}`, false],
  ])("%p with tag %p", (image, tag, reference, allTags) => {
    const found = pullReference(image, tag);
    expect({ reference: familiarReference(found.reference), allTags: found.allTags }).toEqual({ reference, allTags });
  });

  test("refuses bad names and tags", () => {
    expect(() => pullReference("Bad", "")).toThrow("invalid reference format");
    expect(() => pullReference("busybox", "b!d")).toThrow("invalid tag format");
  });
});
