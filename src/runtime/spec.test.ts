import { describe, expect, test } from "bun:test";
import { everyLimit } from "../../test/every-limit.ts";
import type { CgroupHierarchy } from "../kernel/cgroup.ts";
import type { ContainerConfig, HostConfig } from "../oci/container.ts";
import type { RuntimeSpec } from "../oci/runtime-spec.ts";
import { defaultCapabilities } from "./capabilities.ts";
import { buildExec, buildSpec, cgroupPathOf, parseSecurity, type SpecContext } from "./spec.ts";
import type { SpecInput } from "./types.ts";

const cgroups = (version: 1 | 2): CgroupHierarchy => ({
  mode: version === 1 ? "v1" : "v2",
  version,
  controllers: new Map(),
  unified: undefined,
  roots: [],
  stray: [],
});
const contextOf = (version: 1 | 2): SpecContext => ({
  cgroups: cgroups(version),
  cgroupParent: "/berth-abc",
  initPath: "",
  ownCapabilities: [...defaultCapabilities, "CAP_SYS_ADMIN"],
  hasApparmor: false,
  kernel: "6.1.0",
  arch: "amd64",
  support: everyLimit,
  maskedPaths: ["/proc/kcore"],
  profiles: new Map(),
});
const context = contextOf(1);
const build = (host: HostConfig = {}, config: ContainerConfig = {}, more: Partial<SpecInput> = {}, with_ = context): RuntimeSpec =>
  buildSpec({ id: "f".repeat(64), config, host, args: ["a"], env: ["E=1"], rootfs: "/nowhere", network: "new", own: [], user: [], ...more }, with_);
const namespaces = (spec: RuntimeSpec): string[] => spec.linux.namespaces.map(({ type, path }) => (path === undefined ? type : `${type}=${path}`)).toSorted();

describe("spec of a container", () => {
  test("HOME is set for all, unless it is given", () => {
    expect(build({}, {}, { env: ["HOME=/x"] }).process.env).toEqual(["HOME=/x"]);
    expect(build({}, {}, { env: ["HOME=", "A=b"] }).process.env).toEqual(["A=b", "HOME=/"]);
  });

  test("an ordinary one", () => {
    const spec = build();
    expect(namespaces(spec)).toEqual(["ipc", "mount", "network", "pid", "uts"]);
    expect(spec.hostname).toBe("f".repeat(12));
    expect(spec.linux.cgroupsPath).toBe(`/berth-abc/${"f".repeat(64)}`);
    expect(spec.process).toMatchObject({ args: ["a"], env: ["E=1", "HOME=/"], cwd: "/", noNewPrivileges: false, terminal: false });
    expect(spec.process.capabilities?.ambient).toBeUndefined();
    expect(spec.linux.maskedPaths).toContain("/proc/kcore");
    expect(spec.linux.readonlyPaths).toContain("/proc/sys");
    expect(spec.linux.seccomp?.defaultAction).toBe("SCMP_ACT_ERRNO");
    expect(spec.linux.sysctl?.["net.ipv4.ip_unprivileged_port_start"]).toBe("0");
  });

  test("the default profile is one object, so that it is hashed once", () => {
    expect(build().linux.seccomp).toBe(build().linux.seccomp!);
  });

  test("namespaces: host, joined, of the kernel's version", () => {
    expect(namespaces(build({ PidMode: "host", IpcMode: "host", UTSMode: "host" }, {}, { network: "host" }))).toEqual(["mount"]);
    expect(build({ UTSMode: "host" }).hostname).toBeUndefined();
    const joined = build({ PidMode: "container:x", IpcMode: "container:x" }, {}, { joined: { pid: 7, ipc: 8 }, network: { path: "/ns" } });
    expect(namespaces(joined)).toEqual(["ipc=/proc/8/ns/ipc", "mount", "network=/ns", "pid=/proc/7/ns/pid", "uts"]);
    expect(namespaces(build({}, {}, {}, contextOf(2)))).toContain("cgroup");
    expect(namespaces(build({ CgroupnsMode: "host" }, {}, {}, contextOf(2)))).not.toContain("cgroup");
    expect(namespaces(build({ CgroupnsMode: "private" }))).toContain("cgroup");
    expect(() => build({ PidMode: "container:x" })).toThrow("it is not running");
    expect(() => build({ PidMode: "odd" })).toThrow("invalid PID mode: odd");
    expect(() => build({ IpcMode: "odd" })).toThrow("invalid IPC mode: odd");
  });

  test("privileged", () => {
    const spec = build({ Privileged: true });
    expect(spec.linux.seccomp).toBeUndefined();
    expect(spec.linux.maskedPaths).toEqual([]);
    expect(spec.process.capabilities?.effective).toContain("CAP_SYS_ADMIN");
    expect(spec.linux.resources?.devices).toEqual([{ allow: true, access: "rwm" }]);
  });

  test("ulimits: what is given, and open files explicitly; unlimited is 2^64 - 1 in the JSON", () => {
    const rlimits = build({ Ulimits: [{ Name: "core", Soft: -1, Hard: -1 }] }).process.rlimits;
    expect(rlimits?.map((each) => each.type)).toEqual(["RLIMIT_NOFILE", "RLIMIT_CORE"]);
    expect(JSON.stringify(rlimits?.[1])).toBe('{"type":"RLIMIT_CORE","soft":18446744073709551615,"hard":18446744073709551615}');
    expect(build({ Ulimits: [{ Name: "nofile", Soft: 5, Hard: 6 }] }).process.rlimits).toEqual([{ type: "RLIMIT_NOFILE", soft: 5, hard: 6 }]);
    expect(() => build({ Ulimits: [{ Name: "odd", Soft: 1, Hard: 1 }] })).toThrow("invalid ulimit type: odd");
    expect(() => build({ Ulimits: [{ Name: "nofile", Soft: 7, Hard: 6 }] })).toThrow("soft limit must be less than or equal to hard limit");
  });

  test("sysctls: the container's own namespaces only", () => {
    expect(build({ Sysctls: { "net.core.somaxconn": "9" } }, { Domainname: "d.org" }).linux.sysctl).toMatchObject({
      "net.core.somaxconn": "9",
      "kernel.domainname": "d.org",
    });
    expect(() => build({ Sysctls: { "net.core.somaxconn": "9" } }, {}, { network: "host" })).toThrow("is not allowed as net namespace is not private");
    expect(() => build({ Sysctls: { "../x": "9" } })).toThrow("invalid sysctl name");
    expect(build({}, {}, { network: "host" }).linux.sysctl).toEqual({});
  });

  test("security options", () => {
    const parse = (SecurityOpt: string[]): ReturnType<typeof parseSecurity> => parseSecurity({ SecurityOpt }, context);
    expect(parse(["no-new-privileges"]).noNewPrivileges).toBe(true);
    expect(parse(["no-new-privileges:true"]).noNewPrivileges).toBe(true);
    expect(parse(["no-new-privileges=false"]).noNewPrivileges).toBe(false);
    expect(parse(["seccomp=unconfined"]).seccomp).toBe("unconfined");
    expect(parse(["seccomp:{}"]).seccomp).toBe("{}");
    expect(parse(["seccomp=builtin", "label=disable", "apparmor=unconfined"]).seccomp).toBeUndefined();
    expect(() => parse(["odd"])).toThrow('invalid --security-opt 1: "odd"');
    expect(() => parse(["odd=1"])).toThrow('invalid --security-opt 2: "odd=1"');
    expect(() => parse(["apparmor=mine"])).toThrow("AppArmor is not enabled");
    expect(build({ SecurityOpt: ["seccomp=unconfined"] }).linux.seccomp).toBeUndefined();
    expect(build({ SecurityOpt: ["systempaths=unconfined"] }).linux.maskedPaths).toEqual([]);
    expect(build({ MaskedPaths: ["/x"] }).linux.maskedPaths).toEqual(["/x"]);
  });

  test("what isn't there is refused by name", () => {
    expect(() => build({ UsernsMode: "odd" })).toThrow("invalid USER mode: odd");
    expect(() => cgroupPathOf("id", { CgroupParent: "/a/../b" }, "/x")).toThrow("invalid cgroup parent");
    for (const odd of ["x".repeat(256), "/x".repeat(600), "a\0b"])
      expect(() => cgroupPathOf("id", { CgroupParent: odd }, "/x")).toThrow("invalid cgroup parent");
    expect(cgroupPathOf("id", { CgroupParent: "my//parent/" }, "/x")).toBe("/my/parent/id");
  });

  test("an exec has the container's rights, or all", () => {
    const exec = {
      rootfs: "/nowhere",
      config: { User: "5" },
      host: { CapDrop: ["ALL"] },
      args: ["x"],
      env: [],
      cwd: "",
      user: "",
      tty: true,
      privileged: false,
      consoleSize: { rows: 1, cols: 2 },
    };
    expect(buildExec(exec, context)).toMatchObject({
      terminal: true,
      consoleSize: { height: 1, width: 2 },
      cwd: "/",
      user: { uid: 5 },
      capabilities: { effective: [] },
    });
    expect(buildExec({ ...exec, privileged: true, user: "7" }, context)).toMatchObject({
      user: { uid: 7 },
      capabilities: { effective: context.ownCapabilities },
    });
  });
});
