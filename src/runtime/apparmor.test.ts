import { describe, expect, test } from "bun:test";
import { profileText } from "./apparmor.ts";

describe("the default AppArmor profile", () => {
  test("uses the distribution's macros where they are", () => {
    const text = profileText(() => true, "berthd");
    expect(text).toStartWith(
      'abi <abi/3.0>,\n#include <tunables/global>\nprofile "docker-default" flags=(attach_disconnected,mediate_deleted) {\n#include <abstractions/base>\n',
    );
    expect(text).toContain('signal (receive) peer="berthd",\n');
    expect(text).toContain("deny mount,\n");
  });

  test("does without them", () => {
    const text = profileText(() => false, "unconfined");
    expect(text).toStartWith('@{PROC}=/proc/\nprofile "docker-default"');
    expect(text).not.toContain("#include");
  });
});
