import { closeSync, constants, existsSync, openSync, readFileSync, readSync } from "node:fs";
import { internal } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { runVerb } from "./command-runtime.ts";

/** Docker's name: an engine of Docker's beside this one uses the same profile. */
export const defaultApparmorProfile = "docker-default";
const security = "/sys/kernel/security/apparmor";
const macros = "/etc/apparmor.d";

/** As Docker judges it: the kernel's part is on, and the program is there that loads profiles. */
export function readApparmor(): boolean {
  return existsSync(security) && readText("/sys/module/apparmor/parameters/enabled").startsWith("Y") && parser() !== undefined;
}

const parser = (): string | undefined =>
  Bun.which("apparmor_parser") ?? ["/sbin/apparmor_parser", "/usr/sbin/apparmor_parser"].find((path) => existsSync(path));

function readText(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

/**
 * Keeps the default profile loaded. Upgrades of a distribution unload what isn't below /etc/apparmor.d; the kernel counts changes of its policy in a file
 * that is quick to read, so that each start may ask. @throws EngineError internal where the profile can't be loaded
 */
export function createApparmorGuard(log: Logger): () => Promise<void> {
  let seen = "";
  let loading: Promise<void> | undefined;
  const load = async (): Promise<void> => {
    if (!isLoaded()) {
      const { exitCode, stderr } = await runVerb([parser() ?? "apparmor_parser", "-Kr"], {}, profileText());
      if (exitCode !== 0) throw internal(`AppArmor is enabled on this host, but the ${defaultApparmorProfile} profile could not be loaded: ${stderr.trim()}`);
      log.info("AppArmor profile loaded", { profile: defaultApparmorProfile });
    }
    seen = policyRevision();
  };
  return async () => {
    const revision = policyRevision();
    if (revision !== "" && revision === seen) return;
    loading ??= load().finally(() => (loading = undefined));
    await loading;
  };
}

/** How often the policy has changed. The file is made to be waited for: a read blocks until there is another number than the last (0 at first). */
function policyRevision(): string {
  let fd: number;
  try {
    fd = openSync(`${security}/revision`, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return ""; // before Linux 4.13
  }
  try {
    const buffer = Buffer.alloc(64);
    return buffer.toString("latin1", 0, readSync(fd, buffer));
  } catch (error) {
    if ((error as { code?: string }).code === "EAGAIN") return "0";
    throw error;
  } finally {
    closeSync(fd);
  }
}

const isLoaded = (): boolean =>
  readText(`${security}/profiles`)
    .split("\n")
    .some((line) => line.startsWith(`${defaultApparmorProfile} (`));

/** What containers may do besides what capabilities, seccomp and masked paths leave them: the rules of Docker's profile. */
export function profileText(hasMacro: (name: string) => boolean = (name) => existsSync(`${macros}/${name}`), own: string = ownProfile()): string {
  const name = `"${defaultApparmorProfile}"`;
  const lines = [
    // from ABI 4 on `network` no longer means unix sockets
    ...(hasMacro("abi/3.0") ? ["abi <abi/3.0>,"] : []),
    hasMacro("tunables/global") ? "#include <tunables/global>" : "@{PROC}=/proc/",
    `profile ${name} flags=(attach_disconnected,mediate_deleted) {`,
    ...(hasMacro("abstractions/base") ? ["#include <abstractions/base>"] : []),
    ...["network,", "deny network alg,", "capability,", "file,", "umount,"],
    // who stops containers: the host, the runtimes, this engine
    ...["unconfined", "runc", "crun", JSON.stringify(own)].map((peer) => `signal (receive) peer=${peer},`),
    `signal (send,receive) peer=${name},`,
    // writing is for /proc/<pid> and /proc/sys/kernel/shm* alone
    "deny @{PROC}/* w,",
    "deny @{PROC}/{[^1-9/],[^1-9/][^0-9/],[^1-9s/][^0-9y/][^0-9s/],[^1-9/][^0-9/][^0-9/][^0-9/]*}/** w,",
    "deny @{PROC}/sys/[^k]** w,",
    "deny @{PROC}/sys/kernel/{?,??,[^s][^h][^m]**} w,",
    ...["sysrq-trigger", "kcore"].map((file) => `deny @{PROC}/${file} rwklx,`),
    "deny mount,",
    // below /sys only cgroups may be changed
    ...["[^f]*", "f[^s]*", "fs/[^c]*", "fs/c[^g]*", "fs/cg[^r]*"].map((path) => `deny /sys/${path}/** wklx,`),
    ...["firmware", "devices/virtual/powercap", "kernel/security"].map((path) => `deny /sys/${path}/** rwklx,`),
    `ptrace (trace,tracedby,read,readby) peer=${name},`,
    "}",
  ];
  return `${lines.join("\n")}\n`;
}

/** The profile that the engine itself runs under. */
function ownProfile(): string {
  return readText("/proc/self/attr/current").trim().split(" (")[0] || "unconfined";
}
