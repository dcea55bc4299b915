import { readFileSync } from "node:fs";
import { invalidArgument } from "../lib/errors.ts";
import type { CapabilitySets } from "../oci/runtime-spec.ts";

/** By number, linux/capability.h. */
const names = (
  "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK " +
  "IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE " +
  "AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
  .split(" ")
  .map((name) => `CAP_${name}`);
const known = new Set(names);

/** What Docker gives every container. Source: moby, oci/caps/defaults.go. */
export const defaultCapabilities: readonly string[] =
  "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
    .split(" ")
    .map((name) => `CAP_${name}`);

/** Capabilities that this process can hand on: its bounding set, which may lack some (an engine without CAP_SYS_RESOURCE is common in CI). */
export function ownCapabilities(status: string = readFileSync("/proc/self/status", "latin1")): string[] {
  const mask = BigInt(`0x${/^CapBnd:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? "0"}`);
  return names.filter((_, bit) => (mask >> BigInt(bit)) & 1n);
}

/** `net_admin`, `CAP_NET_ADMIN` and `ALL` as Docker takes them. @throws EngineError invalidArgument */
function normalise(list: readonly string[], option: string): string[] {
  return list.map((given) => {
    const upper = given.toUpperCase();
    if (upper === "ALL") return upper;
    const name = upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
    if (!known.has(name)) throw invalidArgument(`invalid ${option}: unknown capability: "${given}"`);
    return name;
  });
}

/**
 * The set for a container. Privileged: all the engine has. @throws EngineError invalidArgument for a name that doesn't exist
 * or one that the engine itself lacks.
 */
export function resolveCapabilities(host: { CapAdd?: string[] | null; CapDrop?: string[] | null; Privileged?: boolean }, own: readonly string[]): string[] {
  const add = normalise(host.CapAdd ?? [], "CapAdd");
  const drop = normalise(host.CapDrop ?? [], "CapDrop");
  if (host.Privileged === true) return [...own];
  const available = new Set(own);
  for (const name of add) {
    if (name === "ALL" || available.has(name)) continue;
    throw invalidArgument(`invalid CapAdd: capability not supported by your kernel or not available in the current environment: "${name}"`);
  }
  if (add.includes("ALL")) return own.filter((name) => !drop.includes(name));
  if (drop.includes("ALL")) return [...new Set(add)];
  const set = new Set(defaultCapabilities.filter((name) => available.has(name) && !drop.includes(name)));
  for (const name of add) set.add(name);
  return [...set];
}

/** As Docker since CVE-2022-24769: nothing inheritable, nothing ambient. The kernel empties the rest when a user other than root is taken on. */
export function capabilitySets(list: string[]): CapabilitySets {
  return { bounding: list, effective: list, permitted: list };
}
