import { release } from "node:os";
import { defaultReadonlyPaths } from "../oci/default-paths.ts";
import type { CgroupHierarchy } from "../kernel/cgroup.ts";
import { readLimit, rlimitNumbers } from "../kernel/process.ts";
import { parseBool } from "../lib/bool.ts";
import { invalidArgument } from "../lib/errors.ts";
import type { ContainerConfig, HostConfig } from "../oci/container.ts";
import { idOnHost, type IdMap, type IdRange } from "../oci/id-map.ts";
import type {
  DeviceSpec,
  IdMapping,
  LinuxSpec,
  MountSpec,
  NamespaceType,
  ProcessSpec,
  RlimitSpec,
  RuntimeSpec,
  SeccompSpec,
  UserSpec,
} from "../oci/runtime-spec.ts";
import { defaultApparmorProfile, readApparmor } from "./apparmor.ts";
import { capabilitySets, resolveCapabilities } from "./capabilities.ts";
import { checkDeviceRequests, type DeviceEdits } from "./device-requests.ts";
import { maskedPathsOfHost } from "./masked-paths.ts";
import { buildMounts, type MountInput } from "./mounts.ts";
import { buildDevices, buildResources } from "./resources.ts";
import { defaultSeccomp, parseSeccomp } from "./seccomp.ts";
import { keptLimits, readSupport, supportedLimits, type LimitSupport } from "./support.ts";
import type { ExecInput, Judged, SpecInput } from "./types.ts";
import { resolveAccount } from "./user.ts";

/** What the host is like, read once. */
export interface SpecContext {
  cgroups: CgroupHierarchy;
  cgroupParent: string;
  /** Path or name of the init of `--init`; empty: one of those that hosts have. */
  initPath: string;
  ownCapabilities: readonly string[];
  hasApparmor: boolean;
  kernel: string;
  arch: string;
  support: LimitSupport;
  maskedPaths: readonly string[];
  /** Default profiles made so far, by capabilities. */
  profiles: Map<string, SeccompSpec>;
}

const MOST_PROFILES = 64;

export function readSpecContext(cgroups: CgroupHierarchy, own: Pick<SpecContext, "cgroupParent" | "initPath" | "ownCapabilities">): SpecContext {
  const arch = process.arch === "x64" ? "amd64" : process.arch;
  return {
    cgroups,
    ...own,
    hasApparmor: readApparmor(),
    kernel: release(),
    arch,
    support: readSupport(cgroups, own.cgroupParent),
    maskedPaths: maskedPathsOfHost(),
    profiles: new Map(),
  };
}

/** Where the init of `--init` is seen inside the container, as in Docker. */
const INIT_PATH = "/sbin/docker-init";

/** The runtime spec of one container, as Docker would make it. @throws EngineError invalidArgument for what can't be honoured */
export function buildSpec(input: SpecInput, context: SpecContext): RuntimeSpec {
  const { config, host } = input;
  refuseUnsupported(host);
  const security = parseSecurity(host, context);
  const capabilities = resolveCapabilities(host, context.ownCapabilities);
  const { devices, rules } = buildDevices(host);
  const edits = input.deviceEdits ?? noDeviceEdits;
  // in a shared pid namespace it would not be process 1, and useless: Docker leaves it out there
  const init = host.Init === true && !host.PidMode ? initMount(context.initPath) : undefined;
  const namespaces = buildNamespaces(input, context);
  const { mounts, rootfsPropagation } = buildMounts({
    privileged: host.Privileged === true,
    writableCgroups: security.writableCgroups,
    hostMqueue: input.idMap !== undefined && host.IpcMode === "host",
    readonlyRootfs: host.ReadonlyRootfs === true,
    shm: shmOf(input),
    own: init === undefined ? input.own : [...input.own, init],
    user: [...input.user.filter(({ destination }) => !edits.mounts.some((mount) => mount.destination === destination)), ...edits.mounts],
  });
  const { user, home } = mappedAccount(resolveAccount(input.rootfs, config.User ?? "", host.GroupAdd ?? []), input.idMap);
  const seccomp = seccompOf(security.seccomp, host, capabilities, context);
  const linux: LinuxSpec = {
    namespaces,
    ...idMappings(input),
    cgroupsPath: cgroupPathOf(input.id, host, context.cgroupParent),
    devices: withDevices(devices, edits.devices, user),
    resources: buildResources(limitsOfNew(supportedLimits(host, context.support).host), [...rules, ...edits.rules]),
    sysctl: sysctlsOf(input),
    ...(rootfsPropagation !== undefined && { rootfsPropagation }),
    ...(seccomp !== undefined && { seccomp }),
    maskedPaths: pathsOf(host, host.MaskedPaths, context.maskedPaths, security.systemPathsUnconfined),
    readonlyPaths: pathsOf(host, host.ReadonlyPaths, defaultReadonlyPaths, security.systemPathsUnconfined),
  };
  const hasUts = namespaces.some((each) => each.type === "uts");
  return {
    ociVersion: "1.0.2",
    process: {
      terminal: config.Tty === true,
      ...consoleSizeOf(host.ConsoleSize),
      user: edits.groups.length === 0 ? user : { ...user, additionalGids: [...new Set([...(user.additionalGids ?? []), ...edits.groups])] },
      args: init === undefined ? input.args : [INIT_PATH, "--", ...input.args],
      env: withEnv(withHome(input.env, home), edits.env),
      cwd: config.WorkingDir || "/",
      capabilities: capabilitySets(capabilities),
      rlimits: rlimitsOf(host),
      noNewPrivileges: security.noNewPrivileges,
      ...(security.apparmor !== undefined && { apparmorProfile: security.apparmor }),
      ...(host.OomScoreAdj ? { oomScoreAdj: host.OomScoreAdj } : {}),
    },
    root: { path: input.rootfs, readonly: host.ReadonlyRootfs === true },
    ...(hasUts && { hostname: config.Hostname || input.id.slice(0, 12) }),
    mounts,
    annotations: { ...host.Annotations },
    ...(Object.keys(edits.hooks).length > 0 && { hooks: edits.hooks }),
    linux,
  };
}

/** A new group has no quota, and crun 1.8 can't write "none" (it writes -1 without its sign on cgroup v1). */
function limitsOfNew(host: HostConfig): HostConfig {
  return (host.CpuQuota ?? 0) < 0 ? { ...host, CpuQuota: 0 } : host;
}

const noDeviceEdits: DeviceEdits = { env: [], devices: [], rules: [], mounts: [], hooks: {}, groups: [] };

/** Devices by CDI take the place of others, and belong to the container's user where nobody said whose they are. */
function withDevices(devices: readonly DeviceSpec[], more: readonly DeviceSpec[], user: UserSpec): DeviceSpec[] {
  if (more.length === 0) return [...devices];
  const paths = new Set(more.map(({ path }) => path));
  return [...devices.filter(({ path }) => !paths.has(path)), ...more.map((device) => ({ uid: user.uid, gid: user.gid, ...device }))];
}

/** Variables of `more` take the place of those with the same name. */
function withEnv(env: string[], more: readonly string[]): string[] {
  if (more.length === 0) return env;
  const variables = new Map([...env, ...more].map((variable) => [variable.split("=", 1)[0] as string, variable]));
  return [...variables.values()];
}

/** The process of an exec: the container's rights, or all the engine has where `privileged`. @throws EngineError */
export function buildExec(input: ExecInput, context: SpecContext): ProcessSpec {
  const { config, host } = input;
  const security = parseSecurity(host, context);
  const capabilities = resolveCapabilities(input.privileged ? { Privileged: true } : host, context.ownCapabilities);
  const { user, home } = mappedAccount(resolveAccount(input.rootfs, input.user || config.User || "", host.GroupAdd ?? []), input.idMap);
  return {
    terminal: input.tty,
    ...(input.consoleSize !== undefined && consoleSizeOf([input.consoleSize.rows, input.consoleSize.cols])),
    user,
    args: input.args,
    env: withHome(input.env, home),
    cwd: input.cwd || config.WorkingDir || "/",
    capabilities: capabilitySets(capabilities),
    rlimits: rlimitsOf(host),
    noNewPrivileges: security.noNewPrivileges,
    ...(security.apparmor !== undefined && { apparmorProfile: security.apparmor }),
    ...(host.OomScoreAdj ? { oomScoreAdj: host.OomScoreAdj } : {}),
  };
}

/** runc gives everyone a HOME, also who has no account and who has an empty one; crun leaves those without. */
function withHome(env: readonly string[], home: string): string[] {
  if (env.some((variable) => /^HOME=./s.test(variable))) return [...env];
  return [...env.filter((variable) => variable !== "HOME="), `HOME=${home}`];
}

function consoleSizeOf(size: readonly [number, number] | undefined): Pick<ProcessSpec, "consoleSize"> {
  return size !== undefined && size[0] > 0 && size[1] > 0 ? { consoleSize: { height: size[0], width: size[1] } } : {};
}

function refuseUnsupported(host: HostConfig): void {
  if (!["", "host", "private"].includes(host.UsernsMode ?? "")) throw invalidArgument(`invalid USER mode: ${host.UsernsMode}`);
  if (host.UTSMode !== undefined && host.UTSMode !== "" && host.UTSMode !== "host") throw invalidArgument(`invalid UTS mode: ${host.UTSMode}`);
  if (host.Isolation !== undefined && host.Isolation !== "" && host.Isolation !== "default") throw invalidArgument(`invalid isolation: ${host.Isolation}`);
  if (host.Cgroup) throw invalidArgument(`Cgroup ${JSON.stringify(host.Cgroup)} is not supported`);
}

/** Docker's default is a cgroup namespace of its own on v2, the host's on v1. */
function buildNamespaces(input: SpecInput, context: SpecContext): LinuxSpec["namespaces"] {
  const { host } = input;
  const list: LinuxSpec["namespaces"] = [{ type: "mount" }];
  const join = (type: NamespaceType, mode: string, pid: number | undefined): void => {
    if (pid === undefined) throw invalidArgument(`cannot join the ${type} namespace of ${mode}: it is not running`);
    list.push({ type, path: `/proc/${pid}/ns/${type}` });
  };
  if (input.idMap !== undefined) list.push(input.joined?.user === undefined ? { type: "user" } : { type: "user", path: `/proc/${input.joined.user}/ns/user` });
  if (input.network === "new") list.push({ type: "network" });
  else if (input.network !== "host") list.push({ type: "network", path: input.network.path });

  const pid = host.PidMode ?? "";
  if (pid === "" || pid === "private") list.push({ type: "pid" });
  else if (pid.startsWith("container:")) join("pid", pid, input.joined?.pid);
  else if (pid !== "host") throw invalidArgument(`invalid PID mode: ${pid}`);

  const ipc = host.IpcMode ?? "";
  if (["", "private", "shareable", "none"].includes(ipc)) list.push({ type: "ipc" });
  else if (ipc.startsWith("container:")) join("ipc", ipc, input.joined?.ipc);
  else if (ipc !== "host") throw invalidArgument(`invalid IPC mode: ${ipc}`);

  if (host.UTSMode !== "host") list.push({ type: "uts" });

  const mode = host.CgroupnsMode || (context.cgroups.version === 2 ? "private" : "host");
  if (mode === "private") list.push({ type: "cgroup" });
  else if (mode !== "host") throw invalidArgument(`invalid cgroup namespace mode: ${String(mode)}`);
  return list;
}

function shmOf(input: SpecInput): MountInput["shm"] {
  const mode = input.host.IpcMode ?? "";
  // a bind without them would lose those of the tmpfs (crun 1.8)
  if (input.shm !== undefined) return { bind: input.shm, flags: ["nosuid", "noexec", "nodev"] };
  if (mode === "none") return undefined;
  if (mode === "host") return { bind: "/dev/shm" };
  return { size: input.host.ShmSize };
}

/** Also where a user namespace is joined, which has its ids already: runc 1.1 wants them all the same, crun takes no notice. */
function idMappings({ idMap }: SpecInput): Pick<LinuxSpec, "uidMappings" | "gidMappings"> {
  if (idMap === undefined) return {};
  const mappings = (ranges: readonly IdRange[]): IdMapping[] => ranges.map(({ container, host, size }) => ({ containerID: container, hostID: host, size }));
  return { uidMappings: mappings(idMap.uids), gidMappings: mappings(idMap.gids) };
}

/** The kernel takes no group that the namespace doesn't have. */
function highestGid(idMap: IdMap | undefined): number {
  return idMap === undefined ? 2147483647 : Math.max(...idMap.gids.map(({ container, size }) => container + size - 1));
}

/** @throws EngineError invalidArgument for an id that the user namespace doesn't have */
function mappedAccount(account: ReturnType<typeof resolveAccount>, idMap: IdMap | undefined): ReturnType<typeof resolveAccount> {
  if (idMap === undefined) return account;
  const { uid, gid, additionalGids = [] } = account.user;
  if (idOnHost(idMap.uids, uid) === undefined) throw invalidArgument(`user ${uid} has no id in the container's user namespace`);
  const unmapped = [gid, ...additionalGids].find((id) => idOnHost(idMap.gids, id) === undefined);
  if (unmapped !== undefined) throw invalidArgument(`group ${unmapped} has no id in the container's user namespace`);
  return account;
}

function sysctlsOf(input: SpecInput): Record<string, string> {
  const { host, config } = input;
  const given = host.Sysctls ?? {};
  const result: Record<string, string> = {};
  if (input.network !== "host") {
    // Docker's defaults since 20.10: ports below 1024 and ping for everyone, since the namespace is the container's own
    result["net.ipv4.ip_unprivileged_port_start"] = "0";
    result["net.ipv4.ping_group_range"] = `0 ${highestGid(input.idMap)}`;
  }
  if (config.Domainname && host.UTSMode !== "host") result["kernel.domainname"] = config.Domainname;
  for (const [name, value] of Object.entries(given)) {
    if (!/^[a-zA-Z0-9_./-]{1,256}$/.test(name) || name.includes("..")) throw invalidArgument(`invalid sysctl name ${JSON.stringify(name)}`);
    if (name.startsWith("net.") && input.network === "host") throw invalidArgument(`sysctl '${name}' is not allowed as net namespace is not private`);
    result[name] = value;
  }
  return result;
}

/** Where a container's cgroup is, below --cgroup-parent or what the container asked for. @throws EngineError invalidArgument */
export function cgroupPathOf(id: string, host: HostConfig, engineParent: string): string {
  const parent = host.CgroupParent || engineParent;
  const parts = parent.split("/");
  const isTooLong = parent.length > 1024 || parts.some((part) => Buffer.byteLength(part) > 255);
  if (parts.includes("..") || parent.includes("\0") || isTooLong) throw invalidArgument(`invalid cgroup parent ${JSON.stringify(parent)}`);
  return `/${[...parts.filter(Boolean), id].join("/")}`;
}

function pathsOf(host: HostConfig, given: string[] | null | undefined, defaults: readonly string[], isUnconfined: boolean): string[] {
  if (given != null) return given;
  return host.Privileged === true || isUnconfined ? [] : [...defaults];
}

function rlimitsOf(host: HostConfig): RlimitSpec[] {
  const limits = new Map<string, RlimitSpec>();
  const add = (name: string, soft: number, hard: number): void =>
    void limits.set(name, { type: `RLIMIT_${name}`, soft: unlimited(soft), hard: unlimited(hard) });
  // our own soft limit is no guide: Bun raises it to the hard one at start. 1024 is the kernel's and systemd's default
  const files = readLimit(rlimitNumbers["NOFILE"]!);
  add("NOFILE", files.hard === -1 ? 1024 : Math.min(1024, files.hard), files.hard);
  for (const { Name, Soft, Hard } of host.Ulimits ?? []) {
    const name = Name.toUpperCase();
    if (!(name in rlimitNumbers)) throw invalidArgument(`invalid ulimit type: ${Name}`);
    if (Hard !== -1 && (Soft === -1 || Soft > Hard)) throw invalidArgument(`ulimit soft limit must be less than or equal to hard limit: ${Soft} > ${Hard}`);
    add(name, Soft, Hard);
  }
  return [...limits.values()];
}

/** The spec's limits are unsigned and 2^64 - 1 is infinity, which a JavaScript number can't hold: it goes into the JSON as it stands. */
function unlimited(value: number): number {
  return value < 0 ? (rawJson("18446744073709551615") as number) : value;
}

const { rawJSON: rawJson } = JSON as unknown as { rawJSON(text: string): unknown };

interface Security {
  /** The container may make and change groups below its own. */
  writableCgroups: boolean;
  noNewPrivileges: boolean;
  /** Undefined: the default profile. `unconfined`, or a profile's JSON. */
  seccomp: string | undefined;
  apparmor: string | undefined;
  systemPathsUnconfined: boolean;
}

/** `--security-opt`. @throws EngineError invalidArgument in Docker's words */
export function parseSecurity(host: Pick<HostConfig, "SecurityOpt" | "Privileged">, context: Pick<SpecContext, "hasApparmor">): Security {
  const result: Security = {
    writableCgroups: host.Privileged === true,
    noNewPrivileges: false,
    seccomp: undefined,
    apparmor: undefined,
    systemPathsUnconfined: false,
  };
  if (context.hasApparmor) result.apparmor = host.Privileged === true ? "unconfined" : defaultApparmorProfile;
  for (const option of host.SecurityOpt ?? []) {
    if (option === "no-new-privileges") {
      result.noNewPrivileges = true;
      continue;
    }
    if (option === "writable-cgroups") {
      result.writableCgroups = true;
      continue;
    }
    if (option === "disable") continue;
    // `name:value` is the older form
    const at = option.includes("=") ? option.indexOf("=") : option.indexOf(":");
    if (at < 0) throw invalidArgument(`invalid --security-opt 1: ${JSON.stringify(option)}`);
    const [name, value] = [option.slice(0, at), option.slice(at + 1)];
    const invalid = (): Error => invalidArgument(`invalid --security-opt 2: ${JSON.stringify(option)}`);
    if (name === "seccomp") result.seccomp = value === "builtin" || value === "" ? undefined : value;
    else if (name === "no-new-privileges") result.noNewPrivileges = parseBool(value, invalid);
    else if (name === "writable-cgroups") result.writableCgroups = parseBool(value, invalid);
    else if (name === "apparmor") result.apparmor = apparmorOf(value, context.hasApparmor);
    else if (name === "systempaths" && value === "unconfined") result.systemPathsUnconfined = true;
    // Docker, too, drops labels silently where SELinux is off
    else if (name !== "label") throw invalid();
  }
  return result;
}

function apparmorOf(profile: string, hasApparmor: boolean): string | undefined {
  if (hasApparmor) return profile === "" ? defaultApparmorProfile : profile;
  if (profile === "unconfined" || profile === defaultApparmorProfile || profile === "") return undefined;
  throw invalidArgument(`AppArmor is not enabled on this host: cannot apply profile ${JSON.stringify(profile)}`);
}

/** The profile of an ordinary container. One object per set of capabilities, so that its hash is computed once. */
export function ordinarySeccomp(capabilities: readonly string[], context: SpecContext): SeccompSpec {
  const key = capabilities.join(" ");
  let profile = context.profiles.get(key);
  if (profile === undefined) {
    profile = defaultSeccomp({ capabilities, arch: context.arch, kernel: context.kernel });
    if (context.profiles.size >= MOST_PROFILES) context.profiles.clear();
    context.profiles.set(key, profile);
  }
  return profile;
}

function seccompOf(given: string | undefined, host: HostConfig, capabilities: readonly string[], context: SpecContext): SeccompSpec | undefined {
  if (given === "unconfined") return undefined;
  if (given !== undefined) return parseSeccomp(given, { capabilities, arch: context.arch, kernel: context.kernel });
  return host.Privileged === true ? undefined : ordinarySeccomp(capabilities, context);
}

const initCandidates = [
  "/usr/bin/tini-static",
  "/usr/bin/docker-init",
  "/usr/libexec/docker/docker-init",
  "/usr/bin/catatonit",
  "/usr/libexec/podman/catatonit",
];

/** Where dockerd looks for an init without a path, before PATH. */
const libexec = ["/usr/local/libexec/docker", "/usr/libexec/docker", "/usr/local/lib/docker", "/usr/lib/docker"];

/** @throws EngineError invalidArgument where the host has none, or not the one that is meant */
function initMount(wanted: string): MountSpec {
  const path = [...libexec, process.env["PATH"]].join(":");
  const source = wanted === "" ? initCandidates.map((each) => Bun.which(each)).find((each) => each !== null) : Bun.which(wanted, { PATH: path });
  if (source) return { destination: INIT_PATH, type: "bind", source, options: ["bind", "ro"] };
  if (wanted !== "") throw invalidArgument(`--init needs the program that --init-path names, and the host has no executable ${wanted}`);
  throw invalidArgument(
    `--init needs a static init program on the host, and none was found (looked for ${initCandidates.join(", ")}): install tini or catatonit`,
  );
}

/**
 * Fields of a container's configuration that only the spec builder can judge: asked at create, so that bad ones are refused there.
 * Gives the settings without limits that the host can't keep, with warnings about them. @throws EngineError invalidArgument
 */
export function validateSpec(config: ContainerConfig, host: HostConfig, context: SpecContext): Judged {
  refuseUnsupported(host);
  const security = parseSecurity(host, context);
  const capabilities = resolveCapabilities(host, context.ownCapabilities);
  if (security.seccomp !== undefined) seccompOf(security.seccomp, host, capabilities, context);
  rlimitsOf(host);
  checkDeviceRequests(host.DeviceRequests);
  cgroupPathOf("", host, context.cgroupParent);
  for (const mode of [host.PidMode, host.IpcMode]) if (mode === "container:") throw invalidArgument(`invalid mode: ${mode}`);
  if (config.WorkingDir && !config.WorkingDir.startsWith("/")) {
    throw invalidArgument(`the working directory '${config.WorkingDir}' is invalid, it needs to be an absolute path`);
  }
  return { ...keptLimits(host, context.support), ...(security.apparmor === undefined ? {} : { apparmor: security.apparmor }) };
}
