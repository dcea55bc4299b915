import { closeSync, mkdirSync, openSync, rmSync } from "node:fs";
import { release } from "node:os";
import { dirname } from "node:path";
import type { Paths } from "../daemon/paths.ts";
import { detectCgroups, hideStrayControllers, mountStrayControllers, prepareParent, removeCgroup, type CgroupHierarchy } from "../kernel/cgroup.ts";
import { createMigrationGate } from "../kernel/cgroup-migration.ts";
import { mount, MS, unmount } from "../kernel/mount.ts";
import { invalidArgument, messageOf, unavailable } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { ownCapabilities, resolveCapabilities } from "./capabilities.ts";
import { readCdi } from "./cdi.ts";
import { resolveDeviceRequests } from "./device-requests.ts";
import { createCommandRuntime, type RuntimeProgram } from "./command-runtime.ts";
import { createCrunRuntime } from "./crun.ts";
import { mountRunDirectories, unmountRunDirectories } from "./run-directories.ts";
import { buildResources } from "./resources.ts";
import { createSeccompCache } from "./seccomp-cache.ts";
import { compileSeccomp, endFormerCompile } from "./seccomp-compile.ts";
import { buildExec, buildSpec, ordinarySeccomp, readSpecContext, validateSpec, type SpecContext } from "./spec.ts";
import { supportedLimits } from "./support.ts";
import type { Runtime, Runtimes } from "./types.ts";
import { resolveUser } from "./user.ts";

export interface RuntimeOptions {
  /** Name of the default runtime; empty: crun, or runc where crun can't serve. */
  defaultRuntime: string;
  /** --add-runtime: names to programs. */
  runtimes: Readonly<Record<string, { path: string; runtimeArgs?: readonly string[] }>>;
  /** Below which every container gets its cgroup; empty: `/berth-<engine key>`. */
  cgroupParent: string;
  /** Controllers that no one has mounted may be mounted. */
  cgroupMounts: boolean;
  /** Where device vendors describe their devices (CDI). */
  cdiSpecDirs: readonly string[];
  /** 6 hex digits of a hash of the data root: engines don't share a cgroup parent. */
  engineKey: string;
}

/** Names that clients use for "the default", since they are Docker's. */
const defaultNames = new Set(["", "io.containerd.runc.v2", "io.containerd.runtime.v1.linux"]);

/** Finds the host's cgroups and runtimes, and makes both ready. @throws EngineError unavailable where no runtime is installed */
export async function createRuntime({ paths, log, options }: { paths: Paths; log: Logger; options: RuntimeOptions }): Promise<Runtimes> {
  const warnings: string[] = [];
  const warn = (sentence: string): void => {
    warnings.push(`WARNING: ${sentence}`);
    log.warn(sentence);
  };
  const { cgroups, crunWorks } = readyCgroups(options, warn, log);
  const cgroupParent = options.cgroupParent || `/berth-${options.engineKey}`;
  prepareParent(cgroups, cgroupParent);
  mountRunDirectories(paths, log);

  const context = readSpecContext(cgroups, cgroupParent, ownCapabilities());
  const runtimes = new Map<string, Runtime>();
  const programs = new Map<string, { path: string }>();
  const add = async (name: string, path: string, args?: readonly string[]): Promise<void> => {
    const program: RuntimeProgram = { name, path, root: `${paths.runtimeRoot}/${name}`, ...(args !== undefined && { arguments: args }) };
    programs.set(name, { path });
    runtimes.set(name, await describeRuntime({ program, context, paths, log }));
  };
  const crun = Bun.which("crun");
  const runc = Bun.which("runc");
  if (crun !== null && crunWorks) await add("crun", crun);
  if (runc !== null) await add("runc", runc);
  for (const [name, { path, runtimeArgs }] of Object.entries(options.runtimes)) {
    const found = Bun.which(path);
    if (found === null) warn(`runtime ${name}: no program ${path}`);
    else await add(name, found, runtimeArgs);
  }

  const wanted = defaultNames.has(options.defaultRuntime) ? "" : options.defaultRuntime;
  const isOwnRunc = options.runtimes["runc"] !== undefined;
  const fallback = wanted === "" || (wanted === "runc" && !isOwnRunc) ? (runtimes.get("crun") ?? runtimes.get("runc")) : runtimes.get(wanted);
  if (fallback === undefined) {
    throw unavailable(wanted !== "" ? `the default runtime ${wanted} is not known` : "no OCI runtime found: install crun (or runc)");
  }
  return {
    cgroups,
    cgroupParent,
    warnings,
    defaultName: fallback.name,
    available: programs,
    get: (name = "") => {
      // docker's clients say runc and mean the default; a runc that was added by hand is meant as such
      if (defaultNames.has(name) || (name === "runc" && !isOwnRunc)) return fallback;
      const runtime = runtimes.get(name);
      if (runtime === undefined) throw invalidArgument(`unknown or invalid runtime name: ${name}`);
      return runtime;
    },
    buildSpec: (input) => buildSpec(input, context),
    buildExec: (input) => buildExec(input, context),
    buildLimits: (limits) => buildResources(supportedLimits(limits, context.support).host, []),
    resolveDevices: (requests) => resolveDeviceRequests(requests, options.cdiSpecDirs),
    discoverDevices: async () => {
      const { devices, errors } = await readCdi(options.cdiSpecDirs);
      return { directories: options.cdiSpecDirs, names: [...devices.keys()], warnings: errors };
    },
    validate: (config, host) => validateSpec(config, host, context),
    expectProcess: createMigrationGate(cgroups, (error) => log.debug("cgroup migrations are not taken ahead", { error })),
    resolveUser,
    close: () => {
      unmount(paths.runtimeBinary, { lazy: true });
      rmSync(paths.runtimeBinary, { force: true });
      unmountRunDirectories(paths);
      // only our own parent, and only where no container lives in it
      if (options.cgroupParent === "") removeCgroup(cgroups, cgroupParent);
    },
  };
}

/** A hybrid host with stray controllers is repaired as far as allowed; crun can't serve where that fails. */
function readyCgroups(options: RuntimeOptions, warn: (sentence: string) => void, log: Logger): { cgroups: CgroupHierarchy; crunWorks: boolean } {
  const found = detectCgroups();
  if (found.stray.length === 0) return { cgroups: found, crunWorks: true };
  if (!options.cgroupMounts) {
    warn(`cgroup controllers ${found.stray.join(", ")} are mounted nowhere and --no-cgroup-mounts is set: crun can't serve, runc does`);
    return { cgroups: found, crunWorks: false };
  }
  const { mounted, failed } = mountStrayControllers(found);
  if (mounted.length > 0) warn(`cgroup controllers mounted as v1, since crun refuses hybrid hosts with stray ones: ${mounted.join(", ")}`);
  const cgroups = detectCgroups();
  if (cgroups.stray.length === 0) return { cgroups, crunWorks: true };
  for (const [name, error] of failed) log.warn("cannot mount a cgroup controller as v1", { controller: name, error });
  try {
    hideStrayControllers(cgroups);
    warn(`cgroup v2 controllers ${cgroups.stray.join(", ")} are hidden, since crun refuses hybrid hosts with stray ones`);
    return { cgroups, crunWorks: true };
  } catch (error) {
    warn(`cgroup controllers ${cgroups.stray.join(", ")} are neither v1 nor hidden (${messageOf(error)}): crun can't serve, runc does`);
    return { cgroups, crunWorks: false };
  }
}

/** crun, known by its version text, gets the fast path; anything else the commands. */
async function describeRuntime(options: { program: RuntimeProgram; context: SpecContext; paths: Paths; log: Logger }): Promise<Runtime> {
  const { program, context, paths, log } = options;
  if (program.name !== "crun") return createCommandRuntime(program);
  const version = await new Response(Bun.spawn([program.path, "--version"], { stdio: ["ignore", "pipe", "ignore"] }).stdout).text();
  if (!version.startsWith("crun version")) return createCommandRuntime(program);
  const isReadOnly = mountReadOnly(program.path, paths.runtimeBinary, log);
  const seccomp = createSeccompCache({ directory: paths.cache, salt: `${version}\0${release()}`, log });
  const path = isReadOnly ? paths.runtimeBinary : program.path;
  const runtime = createCrunRuntime({ program: { ...program, path }, isReadOnly, cgroups: context.cgroups, seccomp, log });
  const profile = ordinarySeccomp(resolveCapabilities({}, context.ownCapabilities), context);
  const scratch = `${paths.execRoot}/seccomp`;
  await endFormerCompile(scratch);
  if (seccomp.get(profile) === undefined) {
    // in the background: whoever comes earlier compiles it himself
    compileSeccomp({
      program: path,
      environment: runtime.environment,
      scratch,
      profile,
      use: (compiled) => seccomp.learn(profile, compiled),
    }).catch((error: unknown) => log.warn("the default seccomp profile is not compiled ahead", { error }));
  }
  return runtime;
}

/** A read-only bind mount of the program: from there crun may run without copying itself, since no container can write to it. */
function mountReadOnly(program: string, target: string, log: Logger): boolean {
  try {
    mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
    // the last engine's mount may hold a program that has been upgraded since
    while (unmount(target, { lazy: true }));
    closeSync(openSync(target, "a", 0o700));
    mount(program, target, "none", MS.BIND);
    try {
      mount("none", target, "none", MS.BIND | MS.REMOUNT | MS.RDONLY);
    } catch (error) {
      unmount(target, { lazy: true });
      throw error;
    }
    return true;
  } catch (error) {
    log.warn("no read-only mount of crun: it will copy itself at each call", { error });
    return false;
  }
}
