import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";

const cache = resolve(import.meta.dir, "../../node_modules/.cache/berth-guest");

/** A machine emulator and a kernel to boot in it, from Debian packages that are unpacked and never installed. */
export interface GuestTools {
  qemu: string;
  /** For LD_LIBRARY_PATH. */
  libraries: string;
  /** Folders of firmware. */
  firmware: string[];
  kernel: string;
  /** `lib/modules/<release>`. */
  modules: string;
  /** The program that loads AppArmor's profiles. */
  apparmor: string;
}

/** Fetched once, 50 MB. undefined where apt can't give them, or the processor isn't the one they are for. */
export function guestTools(): GuestTools | undefined {
  if (process.arch !== "x64" || Bun.which("apt-get") === null) return undefined;
  const tree = join(cache, "tree");
  // a tree of an older release lacks AppArmor's program
  if (existsSync(tree) && parserIn(tree) === undefined) rmSync(tree, { recursive: true });
  if (!existsSync(tree) && !fetchPackages(tree)) return undefined;
  const apparmor = parserIn(tree);
  const kernel = readdirSync(join(tree, "boot")).find((name) => name.startsWith("vmlinuz-"));
  // Debian 13's packages lie below /usr
  const modules = ["lib/modules", "usr/lib/modules"].map((name) => join(tree, name)).find((path) => existsSync(path));
  const [release] = modules === undefined ? [] : readdirSync(modules);
  if (kernel === undefined || modules === undefined || release === undefined || apparmor === undefined) return undefined;
  return {
    qemu: join(tree, "usr/bin/qemu-system-x86_64"),
    libraries: ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map((name) => join(tree, name)).join(":"),
    firmware: ["usr/share/qemu", "usr/share/seabios"].map((name) => join(tree, name)),
    kernel: join(tree, "boot", kernel),
    modules: join(modules, release),
    apparmor,
  };
}

const parserIn = (tree: string): string | undefined => ["sbin", "usr/sbin"].map((name) => join(tree, name, "apparmor_parser")).find((path) => existsSync(path));

function apt(...args: string[]): string {
  const { stdout, exitCode } = Bun.spawnSync(["apt-get", ...args], { stdout: "pipe", stderr: "ignore", env: { ...process.env, LC_ALL: "C" } });
  return exitCode === 0 ? stdout.toString() : "";
}

/** What an installation would add for qemu, and the kernel that linux-image-cloud-amd64 stands for. */
function packageNames(): string[] {
  const added = (...names: string[]): string[] =>
    [...apt("install", "--simulate", "--no-install-recommends", ...names).matchAll(/^Inst (\S+)/gm)].map((match) => match[1] as string);
  const depends = Bun.spawnSync(["apt-cache", "depends", "linux-image-cloud-amd64"]).stdout.toString();
  const kernel = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  const qemu = added("qemu-system-x86");
  return kernel === undefined || qemu.length === 0 ? [] : [...qemu, kernel, "apparmor"];
}

function fetchPackages(tree: string): boolean {
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, "get-"));
  try {
    let names = packageNames();
    if (names.length === 0) {
      apt("update");
      names = packageNames();
    }
    if (names.length === 0) return false;
    const download = (): boolean => Bun.spawnSync(["apt-get", "download", ...names], { cwd: work, stdout: "ignore", stderr: "ignore" }).exitCode === 0;
    // Package lists may be older than what the mirror holds.
    if (!download() && (apt("update") === "" || !download())) return false;
    mkdirSync(join(work, "tree"));
    for (const file of readdirSync(work).filter((name) => name.endsWith(".deb"))) {
      if (Bun.spawnSync(["dpkg", "-x", file, "tree"], { cwd: work }).exitCode !== 0) return false;
    }
    renameSync(join(work, "tree"), tree);
    return true;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Paths of kernel modules matching `wanted` and all they need, each after what it depends on. */
export function modulesInOrder(modules: string, wanted: RegExp): string[] {
  const nameOf = (path: string): string =>
    path
      .replace(/^.*\//, "")
      .replace(/\.ko(\.xz)?$/, "")
      .replaceAll("-", "_");
  const paths = (readdirSync(modules, { recursive: true }) as string[]).filter((path) => /\.ko(\.xz)?$/.test(path));
  const byName = new Map(paths.map((path) => [nameOf(path), path]));
  const ordered: string[] = [];
  const add = (path: string): void => {
    if (ordered.includes(path)) return;
    const depends = /\0depends=([^\0]*)\0/.exec(readFileSync(plainModule(join(modules, path)), "latin1"))?.[1] ?? "";
    for (const name of depends.split(",")) {
      const needed = byName.get(name.replaceAll("-", "_"));
      if (needed !== undefined) add(needed);
    }
    if (!ordered.includes(path)) ordered.push(path);
  };
  for (const path of paths.sort()) if (wanted.test(nameOf(path))) add(path);
  // once decompressed, a module lies there in both forms
  return [...new Set(ordered.map((path) => plainModule(join(modules, path))))];
}

/** Debian 13's modules are compressed; insmod of the guest's busybox wants them plain. */
function plainModule(path: string): string {
  if (!path.endsWith(".xz")) return path;
  const plain = path.slice(0, -3);
  if (!existsSync(plain) && Bun.spawnSync(["xz", "--decompress", "--keep", path]).exitCode !== 0) throw new Error(`xz could not decompress ${path}`);
  return plain;
}
