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
import { createApparmorGuard } from "./apparmor.ts";
import { readCdi } from "./cdi.ts";
import { resolveDeviceRequests } from "./device-requests.ts";
import { createCommandRuntime, type RuntimeProgram } from "./command-runtime.ts";
import { createCrunRuntime } from "./crun.ts";
import { writeLimits } from "./limits.ts";
import { mountRunDirectories, unmountRunDirectories } from "./run-directories.ts";
import { buildResources } from "./resources.ts";
import { createSeccompCache } from "./seccomp-cache.ts";
import { compileSeccomp, endFormerCompile } from "./seccomp-compile.ts";
import { realtimeBudget } from "./realtime.ts";
import { buildExec, buildSpec, ordinarySeccomp, readSpecContext, validateSpec, type SpecContext } from "./spec.ts";
import { supportedLimits } from "./support.ts";
import type { AddedRuntimes, Runtime, Runtimes } from "./types.ts";
import { resolveUser } from "./user.ts";

export interface RuntimeOptions {
  /** Name of the default runtime; empty: crun, or runc where crun can't serve. */
  defaultRuntime: string;
  /** --add-runtime: names to programs. */
  runtimes: AddedRuntimes;
  /** Below which every container gets its cgroup; empty: `/berth-<engine key>`. */
  cgroupParent: string;
  /** The init of `--init`: path or name; empty: one of those that hosts have. */
  initPath: string;
  /** What containers together have of real-time scheduling, in microseconds; 0: as it is. */
  cpuRtPeriod: number;
  cpuRtRuntime: number;
  /** Controllers that no one has mounted may be mounted. */
  cgroupMounts: boolean;
  /** Where device vendors describe their devices (CDI). */
  cdiSpecDirs: readonly string[];
  /** 6 hex digits of a hash of the data root: engines don't share a cgroup parent. */
  engineKey: string;
}

interface Found {
  path: string;
  runtime: Runtime;
}

/** The settings of the moment: every runtime by name, and the one of containers that name none. */
interface Choice {
  all: ReadonlyMap<string, Found>;
  fallback: Runtime;
  added: AddedRuntimes;
  /** Sentences about added ones whose program isn't there. */
  warnings: string[];
}

/** Names that clients use for "the default", since they are Docker's. */
const defaultNames = new Set(["", "io.containerd.runc.v2", "io.containerd.runtime.v1.linux"]);

/** Docker's clients say runc, too, and mean the default; a runc that was added by hand is meant as such. */
export function meansDefault(name: string, added: AddedRuntimes): boolean {
  return defaultNames.has(name) || (name === "runc" && added["runc"] === undefined);
}

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
  const context = readSpecContext(cgroups, { cgroupParent, initPath: options.initPath, ownCapabilities: ownCapabilities() });
  const budget = realtimeBudget(cgroups, context.support, { realtimePeriod: options.cpuRtPeriod, realtimeRuntime: options.cpuRtRuntime });
  const guardApparmor = context.hasApparmor ? createApparmorGuard(log) : undefined;
  mountRunDirectories(paths, log);

  const background: Promise<void>[] = [];
  const found = async (name: string, path: string, args?: readonly string[]): Promise<[string, Found]> => {
    const program: RuntimeProgram = { name, path, root: `${paths.runtimeRoot}/${name}`, ...(args !== undefined && { arguments: args }) };
    return [name, { path, runtime: await describeRuntime({ program, context, paths, log, background }) }];
  };
  const own = new Map<string, Found>();
  for (const name of crunWorks ? ["crun", "runc"] : ["runc"]) {
    const path = Bun.which(name);
    if (path !== null) own.set(...(await found(name, path)));
  }
  const choose = async ({ runtimes, defaultRuntime }: Pick<RuntimeOptions, "runtimes" | "defaultRuntime">): Promise<Choice> => {
    const all = new Map(own);
    const missing: string[] = [];
    for (const [name, { path, runtimeArgs }] of Object.entries(runtimes)) {
      const program = Bun.which(path);
      if (program === null) missing.push(`runtime ${name}: no program ${path}`);
      else all.set(...(await found(name, program, runtimeArgs)));
    }
    const fallback = fallbackOf(all, defaultRuntime, runtimes);
    for (const sentence of missing) log.warn(sentence);
    return { all, fallback, added: runtimes, warnings: missing.map((sentence) => `WARNING: ${sentence}`) };
  };
  const close = async (): Promise<void> => {
    // a compile that is cut off would leave a process that waits for ever
    await Promise.all(background);
    unmount(paths.runtimeBinary, { lazy: true });
    rmSync(paths.runtimeBinary, { force: true });
    unmountRunDirectories(paths);
    // only our own parent, and only where no container lives in it
    if (options.cgroupParent === "") await removeCgroup(cgroups, cgroupParent);
  };
  let chosen: Choice;
  try {
    await budget?.(cgroupParent);
    chosen = await choose(options);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    cgroups,
    cgroupParent,
    hasApparmor: context.hasApparmor,
    get warnings() {
      return [...warnings, ...chosen.warnings];
    },
    get defaultName() {
      return chosen.fallback.name;
    },
    get available() {
      return chosen.all;
    },
    configure: async (changed) => {
      const next = await choose(changed);
      return () => {
        chosen = next;
      };
    },
    get: (name = "") => {
      if (meansDefault(name, chosen.added)) return chosen.fallback;
      const runtime = chosen.all.get(name)?.runtime;
      if (runtime === undefined) throw invalidArgument(`unknown or invalid runtime name: ${name}`);
      return runtime;
    },
    buildSpec: (input) => buildSpec(input, context),
    buildExec: (input) => buildExec(input, context),
    buildLimits: (limits) => buildResources(supportedLimits(limits, context.support).host, []),
    prepareHost: async (host) => {
      await guardApparmor?.();
      if (host.CgroupParent) await budget?.(host.CgroupParent);
    },
    resolveDevices: (requests) => resolveDeviceRequests(requests, options.cdiSpecDirs),
    discoverDevices: async () => {
      const { devices, errors } = await readCdi(options.cdiSpecDirs);
      return { directories: options.cdiSpecDirs, names: [...devices.keys()], warnings: errors };
    },
    validate: (config, host) => validateSpec(config, host, context),
    expectProcess: createMigrationGate(cgroups, (error) => log.debug("cgroup migrations are not taken ahead", { error })),
    resolveUser,
    close,
  };
}

/** @throws EngineError unavailable */
function fallbackOf(all: ReadonlyMap<string, Found>, asked: string, added: AddedRuntimes): Runtime {
  const isAny = meansDefault(asked, added);
  const found = isAny ? (all.get("crun") ?? all.get("runc")) : all.get(asked);
  if (found !== undefined) return found.runtime;
  throw unavailable(isAny ? "no OCI runtime found: install crun (or runc)" : `the default runtime ${asked} is not known`);
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
async function describeRuntime(options: {
  program: RuntimeProgram;
  context: SpecContext;
  paths: Paths;
  log: Logger;
  background: Promise<void>[];
}): Promise<Runtime> {
  const { program, context, paths, log, background } = options;
  if (program.name === "runc") {
    // its own update leaves the first half of a change behind when the kernel refuses the second
    return { ...createCommandRuntime(program), update: (_, resources, cgroupPath, note) => writeLimits(context.cgroups, cgroupPath, resources, note) };
  }
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
    const compile = compileSeccomp({
      program: path,
      environment: runtime.environment,
      scratch,
      profile,
      use: (compiled) => seccomp.learn(profile, compiled),
    });
    background.push(compile.catch((error: unknown) => log.warn("the default seccomp profile is not compiled ahead", { error })));
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
