import { describe, expect, test } from "bun:test";
import { defaultSeccomp, parseSeccomp } from "./seccomp.ts";

const context = { capabilities: ["CAP_CHOWN", "CAP_SYS_CHROOT"], arch: "amd64", kernel: "6.1.0-18-amd64" };
const allowed = (capabilities: string[], arch = "amd64", kernel = context.kernel): Set<string> =>
  new Set(
    defaultSeccomp({ capabilities, arch, kernel })
      .syscalls?.filter((each) => each.action === "SCMP_ACT_ALLOW")
      .flatMap((each) => each.names),
  );

describe("default seccomp profile", () => {
  test("everything unknown answers EPERM", () => {
    const profile = defaultSeccomp(context);
    expect([profile.defaultAction, profile.defaultErrnoRet]).toEqual(["SCMP_ACT_ERRNO", 1]);
    expect(profile.architectures).toEqual(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
  });

  test("capabilities open what they are for", () => {
    const plain = allowed([]);
    for (const name of ["read", "openat2", "futex_waitv", "ptrace"]) expect(plain.has(name)).toBe(true);
    for (const name of ["mount", "bpf", "reboot", "chroot", "init_module", "keyctl", "kexec_load", "unshare"]) expect(plain.has(name)).toBe(false);
    expect(allowed(["CAP_SYS_ADMIN"]).has("mount")).toBe(true);
    expect(allowed(["CAP_SYS_CHROOT"]).has("chroot")).toBe(true);
    expect(allowed(["CAP_BPF"]).has("bpf")).toBe(true);
  });

  test("ptrace needs a kernel that checks it", () => {
    expect(allowed([], "amd64", "4.4.0").has("ptrace")).toBe(false);
    expect(allowed([], "amd64", "4.8.1").has("ptrace")).toBe(true);
  });

  test("clone without namespaces only, clone3 answers ENOSYS, unless it may do all", () => {
    const clone3 = (capabilities: string[]): (number | undefined)[] =>
      defaultSeccomp({ ...context, capabilities })
        .syscalls!.filter((each) => each.names.includes("clone3"))
        .map((each) => each.errnoRet);
    expect(clone3([])).toEqual([38]);
    expect(clone3(["CAP_SYS_ADMIN"])).toEqual([undefined]);
    const clone = defaultSeccomp(context).syscalls!.filter((each) => each.names.includes("clone"));
    expect(clone.map((each) => each.args)).toEqual([[{ index: 0, value: 0x7e020000, op: "SCMP_CMP_MASKED_EQ" }]]);
  });

  test("each architecture has its own", () => {
    expect(allowed([]).has("arch_prctl")).toBe(true);
    expect(allowed([], "arm64").has("arch_prctl")).toBe(false);
    expect(allowed([], "arm64").has("arm_fadvise64_64")).toBe(true);
  });
});

describe("a profile of the user's", () => {
  test("Docker's format with conditions, old and new", () => {
    const profile = {
      defaultAction: "SCMP_ACT_ALLOW",
      archMap: [
        { architecture: "SCMP_ARCH_X86_64", subArchitectures: ["SCMP_ARCH_X86"] },
        { architecture: "SCMP_ARCH_AARCH64", subArchitectures: null },
      ],
      syscalls: [
        { name: "mkdir", action: "SCMP_ACT_ERRNO", args: null },
        { names: ["chmod"], action: "SCMP_ACT_ERRNO", errnoRet: 13, includes: { caps: ["CAP_CHOWN"] } },
        { names: ["never"], action: "SCMP_ACT_ERRNO", includes: { caps: ["CAP_SYS_ADMIN"] } },
        { names: ["nor"], action: "SCMP_ACT_ERRNO", excludes: { arches: ["amd64"] } },
      ],
    };
    expect(parseSeccomp(JSON.stringify(profile), context)).toEqual({
      defaultAction: "SCMP_ACT_ALLOW",
      architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
      syscalls: [
        { names: ["mkdir"], action: "SCMP_ACT_ERRNO" },
        { names: ["chmod"], action: "SCMP_ACT_ERRNO", errnoRet: 13 },
      ],
    });
  });

  test.each([["{"], ["[]"], ['{"defaultAction":7}'], ['{"defaultAction":"x","syscalls":[{"names":"read"}]}']])("%s is refused", (text) => {
    expect(() => parseSeccomp(text, context)).toThrow("decoding seccomp profile failed");
  });
});
