import { expect, test } from "bun:test";
import { hostPlatform } from "../oci/platform.ts";
import { platformWarnings } from "./platform-warning.ts";

test("images of another platform are told of", () => {
  const of = (architecture: string, variant?: string): string[] =>
    platformWarnings({ config: { architecture, os: "linux", variant, rootfs: { type: "layers", diff_ids: [] } } });
  expect(of(hostPlatform().architecture)).toEqual([]);
  expect(of("s390x")[0]).toStartWith("The requested image's platform (linux/s390x) does not match the detected host platform (linux/");
});
