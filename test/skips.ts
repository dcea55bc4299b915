import { existsSync, readFileSync, statfsSync } from "node:fs";
import { release, tmpdir } from "node:os";
import { knowsLinkKind } from "../src/kernel/netlink-links.ts";
import { openRouteSocket } from "../src/kernel/netlink-route.ts";
import { composeProgram, debianProgram, dockerClients, unpackedProgram } from "./e2e/debian.ts";
import { dockerdPath } from "./e2e/dockerd.ts";
import { podmanPrograms } from "./e2e/podman.ts";
import { firewalldTrees } from "./kernel/firewalld-host.ts";
import { guestTools } from "./guest/tools.ts";
import { canBeImmutable } from "./immutable.ts";

/** Why a group of tests can't run here, or undefined where it can. The only skips allowed; the summary counts them apart. */
export interface Skip {
  reason: string;
  /** True where the right or kernel feature is missing. */
  missing: () => boolean;
}

export const skips = {
  root: { reason: "needs root", missing: () => process.getuid?.() !== 0 },
  overlay: { reason: "needs overlayfs in the kernel", missing: () => !readable("/proc/filesystems").includes("overlay") },
  cgroupV1: { reason: "needs memory limits of cgroup v1", missing: () => !existsSync("/sys/fs/cgroup/memory/memory.limit_in_bytes") },
  realtime: {
    reason: "needs budgets of real-time scheduling (cgroup v1, CONFIG_RT_GROUP_SCHED)",
    missing: () => !existsSync("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"),
  },
  userns: { reason: "needs user namespaces and idmapped mounts (Linux 5.19; 6.3 where temporary files lie on a tmpfs)", missing: () => !hasIdMaps() },
  guest: { reason: "needs qemu and a guest kernel (packages that apt could not give)", missing: () => guestTools() === undefined },
  docker: { reason: "needs a docker command line (on PATH, or Debian's package)", missing: () => dockerClients().length === 0 },
  compose: { reason: "needs Docker Compose 2 (on PATH, or Debian trixie's package)", missing: () => composeProgram() === undefined },
  macvlan: { reason: "needs macvlan links in the kernel (the guest has them)", missing: () => !hasLinkKind("macvlan") },
  ipvlan: { reason: "needs ipvlan links in the kernel (the guest has them)", missing: () => !hasLinkKind("ipvlan") },
  vlan: { reason: "needs VLAN links in the kernel (the guest has them)", missing: () => !hasLinkKind("vlan") },
  dummy: { reason: "needs dummy links in the kernel (the guest has them)", missing: () => !hasLinkKind("dummy") },
  bridgeNetfilter: { reason: "needs br_netfilter in the kernel", missing: () => !existsSync("/proc/sys/net/bridge") },
  systemd: { reason: "needs systemd-analyze on PATH", missing: () => Bun.which("systemd-analyze") === null },
  umoci: { reason: "needs umoci (on PATH, or Debian's package)", missing: () => debianProgram("umoci", "usr/bin/umoci") === undefined },
  ufw: { reason: "needs ufw (Debian's package)", missing: () => unpackedProgram("usr/sbin/ufw", "ufw") === undefined },
  firewalld: {
    reason: "needs Python of the system, firewalld, its Python modules and dbus-daemon (Debian's packages)",
    missing: () => firewalldTrees() === undefined,
  },
  podman: { reason: "needs Podman and netavark (on PATH, or Debian's packages), and the libraries it uses", missing: () => podmanPrograms() === undefined },
  dockerd: { reason: "needs dockerd, containerd and runc (on PATH, or Debian's packages)", missing: () => dockerdPath() === undefined },
  iptables: { reason: "needs iptables over nftables on PATH", missing: () => Bun.which("iptables") === null || !iptablesVersion().includes("nf_tables") },
  btrfs: {
    reason: "needs btrfs in the kernel, a loop device, and mkfs.btrfs (on PATH, or Debian's package)",
    missing: () =>
      !readable("/proc/filesystems").includes("btrfs") ||
      !existsSync("/dev/loop0") ||
      debianProgram("mkfs.btrfs", "sbin/mkfs.btrfs", "btrfs-progs") === undefined,
  },
  loop: {
    reason: "needs ext4 in the kernel, a loop device, and mkfs.ext4 and debugfs on PATH",
    missing: () =>
      !readable("/proc/filesystems").includes("ext4") || !existsSync("/dev/loop0") || ["mkfs.ext4", "debugfs"].some((name) => Bun.which(name) === null),
  },
  immutable: { reason: "needs immutable files (chattr +i) where temporary files lie", missing: () => !canBeImmutable() },
  strace: { reason: "needs strace (on PATH, or Debian's package)", missing: () => debianProgram("strace", "usr/bin/strace") === undefined },
  skopeo: { reason: "needs skopeo on PATH", missing: () => Bun.which("skopeo") === null },
} satisfies Record<string, Skip>;

const TMPFS_MAGIC = 0x01021994;

function hasIdMaps(): boolean {
  const [major = 0, minor = 0] = release().split(".").map(Number);
  const needed = statfsSync(tmpdir()).type === TMPFS_MAGIC ? [6, 3] : [5, 19];
  return (major > needed[0]! || (major === needed[0] && minor >= needed[1]!)) && readable("/proc/sys/user/max_user_namespaces").trim() !== "0";
}

function iptablesVersion(): string {
  return Bun.spawnSync(["iptables", "--version"]).stdout.toString();
}

function hasLinkKind(kind: string): boolean {
  if (process.getuid?.() !== 0) return false;
  using socket = openRouteSocket();
  return knowsLinkKind(socket, kind);
}

function readable(path: string): string {
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}

/** True where any of `names` is missing: give it to `describe.skipIf`. */
export function skipped(...names: (keyof typeof skips)[]): boolean {
  return names.some((name) => {
    const skip: Skip = skips[name];
    if (!skip.missing()) return false;
    console.error(`skipped: ${skip.reason}`);
    return true;
  });
}
