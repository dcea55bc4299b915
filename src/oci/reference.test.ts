import { describe, expect, test } from "bun:test";
import { kindOf, messageOf } from "../lib/errors.ts";
import { familiarName, familiarReference, formatReference, isRepositoryPath, isTag, parseReference, repositoryOf, withDefaultTag } from "./reference.ts";

const hex = "a".repeat(64);

describe("good references", () => {
  const rows: [text: string, full: string, familiar: string][] = [
    ["busybox", "docker.io/library/busybox", "busybox"],
    ["busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"],
    ["library/busybox", "docker.io/library/busybox", "busybox"],
    ["user/app", "docker.io/user/app", "user/app"],
    ["docker.io/busybox", "docker.io/library/busybox", "busybox"],
    ["index.docker.io/busybox", "docker.io/library/busybox", "busybox"],
    ["index.docker.io/user/app:x", "docker.io/user/app:x", "user/app:x"],
    ["docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"],
    ["localhost/app", "localhost/app", "localhost/app"],
    ["localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1"],
    ["127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c"],
    ["[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"],
    ["[2001:db8::1]/app:x", "[2001:db8::1]/app:x", "[2001:db8::1]/app:x"],
    ["Registry/app", "Registry/app", "Registry/app"],
    ["ghcr.io/owner/app@sha256:" + hex, `ghcr.io/owner/app@sha256:${hex}`, `ghcr.io/owner/app@sha256:${hex}`],
    [`app:1@sha256:${hex}`, `docker.io/library/app:1@sha256:${hex}`, `app:1@sha256:${hex}`],
    ["a__b/c---d.e_f", "docker.io/a__b/c---d.e_f", "a__b/c---d.e_f"],
    ["localhost", "docker.io/library/localhost", "localhost"],
    ["host:5000", "docker.io/library/host:5000", "host:5000"],
    ["a:" + "t".repeat(128), "docker.io/library/a:" + "t".repeat(128), "a:" + "t".repeat(128)],
    ["xn--n3h.com/myimage", "xn--n3h.com/myimage", "xn--n3h.com/myimage"],
    [`a@sha512:${hex}${hex}`, `docker.io/library/a@sha512:${hex}${hex}`, `a@sha512:${hex}${hex}`],
  ];
  for (const [text, full, familiar] of rows) {
    test(text.slice(0, 60), () => {
      const reference = parseReference(text);
      expect(formatReference(reference)).toBe(full);
      expect(familiarReference(reference)).toBe(familiar);
      expect(parseReference(familiar)).toEqual(reference);
      expect(parseReference(full)).toEqual(reference);
    });
  }
});

describe("bad references", () => {
  const rows = [
    "",
    " ",
    "/",
    "a/",
    "/a",
    "a//b",
    "a:",
    ":a",
    "a:b:c",
    "a@",
    "a@sha256:",
    "a@sha256:abc",
    `a@md5:${hex}`,
    `a@sha256:${hex.toUpperCase()}`,
    "a..b",
    "a_-b",
    "-a",
    "a-",
    "_a",
    "a:-x",
    "a:.x",
    "a:" + "t".repeat(129),
    "-host.com/a",
    "host-.com/a",
    "host.com:/a",
    "host.com:x/a",
    "[fe80::1%eth0]/a",
    "[::1/a",
    "a b",
    "a\nb",
    "a\0b",
    "../../etc/passwd",
    "docker.io/../x",
    "é",
    "https://docker.io/a",
    "a" + "/b".repeat(128),
    "x".repeat(5000),
    hex,
    "a:b@sha256:" + "g".repeat(64),
    "a@sha512:" + hex,
  ];
  for (const text of rows) {
    test(JSON.stringify(text.slice(0, 40)), () => {
      let error: unknown;
      try {
        parseReference(text);
      } catch (caught) {
        error = caught;
      }
      expect(kindOf(error)).toBe("invalidArgument");
      expect(messageOf(error)).toMatch(/^invalid (reference format|repository name)/);
    });
  }

  test("says that names are lower case", () => {
    expect(() => parseReference("Busybox")).toThrow("invalid reference format: repository name (library/Busybox) must be lowercase");
    expect(() => parseReference("user/App:x")).toThrow("invalid reference format: repository name (user/App) must be lowercase");
  });

  test("is linear on hostile input", () => {
    expect(() => parseReference("a-".repeat(2000) + "!")).toThrow("invalid reference format");
    expect(() => parseReference("a.".repeat(2000) + "/!")).toThrow("invalid reference format");
  });
});

test("default tag only where nothing names a version", () => {
  expect(formatReference(withDefaultTag(parseReference("a")))).toBe("docker.io/library/a:latest");
  expect(withDefaultTag(parseReference("a:1")).tag).toBe("1");
  expect(withDefaultTag(parseReference(`a@sha256:${hex}`)).tag).toBeUndefined();
});

test("names without version", () => {
  const reference = parseReference(`busybox:1@sha256:${hex}`);
  expect(familiarName(reference)).toBe("busybox");
  expect(repositoryOf(reference)).toBe("docker.io/library/busybox");
});

test("parts of a registry's paths", () => {
  expect(isRepositoryPath("a/b_c/d")).toBe(true);
  for (const bad of ["", "A", "a/", "../a", "a/../b", "a:b", "a".repeat(256)]) expect(isRepositoryPath(bad)).toBe(false);
  expect(isTag("_1.2-x")).toBe(true);
  for (const bad of ["", ".a", "-a", "a/b", "a".repeat(129), "a\n"]) expect(isTag(bad)).toBe(false);
});
