import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { Glob } from "bun";
import { busyboxArchive } from "../busybox-image.ts";
import { Initramfs } from "./initramfs.ts";
import { guestTools, modulesInOrder, type GuestTools } from "./tools.ts";

const root = resolve(import.meta.dir, "../..");
/** Milliseconds that a guest may take. */
export const guestLimit = 8 * 60_000;

/** Names of the checks that a scenario makes, in order. */
export function checksOf(scenario: string): string[] {
  return [...readFileSync(join(import.meta.dir, `${scenario}.ts`), "utf8").matchAll(/^ *await check\("([^"]+)"/gm)].map((match) => match[1] as string);
}

function initramfs({ modules, apparmor }: GuestTools): Uint8Array {
  const image = new Initramfs();
  for (const folder of ["/proc", "/sys", "/dev", "/tmp", "/run", "/var", "/root", "/etc", "/bin"]) image.folder(folder);
  image.addHost("/bin/busybox");
  image.addProgram(join(root, "dist/berth"), "/usr/bin/berth");
  for (const program of ["crun", "conmon"]) image.addProgram(Bun.which(program) as string, `/usr/bin/${program}`);
  const [nftables = ""] = /\/\S*libnftables\.so\.1\b/.exec(Bun.spawnSync(["/sbin/ldconfig", "-p"]).stdout.toString()) ?? [];
  image.addProgram(nftables);
  // what the drivers' own tests make links and namespaces with; busybox' shell would take its own ip
  for (const program of ["sh", "ip", "nsenter", "unshare"]) image.addProgram(Bun.which(program) as string, `/usr/bin/${program}`);
  for (const path of new Glob("{src,test}/**/*.ts").scanSync(root)) image.addHost(join(root, path), `/guest/tree/${path}`);
  image.add("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndockremap:x:990:990::/:/bin/false\n");
  image.add("/etc/group", "root:x:0:\ndockremap:x:990:\n");
  for (const name of ["subuid", "subgid"]) image.add(`/etc/${name}`, "dockremap:100000:65536\n");
  image.add("/etc/hosts", "127.0.0.1 localhost\n");
  image.add("/etc/resolv.conf", "nameserver 192.0.2.1\n");
  image.add("/init", readFileSync(join(import.meta.dir, "init.sh")), 0o755);
  for (const name of ["start.sh", "inside.ts", "scenario.ts", "reboot.ts", "nfs.ts"]) image.addHost(join(import.meta.dir, name), `/guest/${name}`);
  image.addHost(apparmor, "/sbin/apparmor_parser");
  const quota = makeDisk(48 << 20, ["-O", "quota,project", "-E", "quotatype=prjquota"]);
  try {
    image.add("/guest/quota.img.gz", Bun.gzipSync(readFileSync(quota)));
  } finally {
    rmSync(dirname(quota), { recursive: true });
  }
  image.add("/guest/image.tar", busyboxArchive("guest"));
  image.add("/guest/context/Dockerfile", 'FROM guest\nRUN cat /sys/fs/cgroup/memory.max > /limit\nCMD ["cat", "/limit"]\n');
  const needed = modulesInOrder(
    modules,
    /^(overlay|veth|bridge|nf_tables|nft_.*|nf_nat|nf_conntrack|ext4|loop|quota_v2|macvlan|ipvlan|8021q|dummy|sctp|nfs|nfsv4|nfsd)$/,
  );
  for (const path of needed) image.addHost(path, `/guest/modules/${path.split("/").at(-1)}`);
  image.add("/guest/modules/order", needed.map((path) => `${path.split("/").at(-1)}\n`).join(""));
  return image.bytes();
}

/** A file with an ext4 file system in it, alone in a new folder. */
function makeDisk(bytes: number, options: string[]): string {
  const disk = join(mkdtempSync(join(tmpdir(), "berth-disk-")), "disk");
  writeFileSync(disk, "");
  truncateSync(disk, bytes);
  const { exitCode, stderr } = Bun.spawnSync(["mkfs.ext4", "-q", "-F", ...options, disk], { stderr: "pipe" });
  if (exitCode !== 0) throw new Error(`mkfs.ext4: ${stderr.toString()}`);
  return disk;
}

/** A machine that boots from memory into a scenario, as often as one likes; what is on its disk stays. */
export class Machine implements Disposable {
  readonly #tools = guestTools() as GuestTools;
  readonly #folder = mkdtempSync(join(tmpdir(), "berth-guest-"));
  readonly #disk: string | undefined;

  constructor(options: { diskBytes?: number } = {}) {
    writeFileSync(join(this.#folder, "initramfs"), initramfs(this.#tools));
    if (options.diskBytes === undefined) return;
    this.#disk = makeDisk(options.diskBytes, ["-E", "lazy_itable_init=1,lazy_journal_init=1"]);
  }

  /** Boots it and reads what it says until it is off; where a line says that its power shall be cut, it is. */
  async boot(scenario: string): Promise<string> {
    const { qemu, firmware, kernel, libraries } = this.#tools;
    const disk = this.#disk === undefined ? [] : ["-drive", `file=${this.#disk},if=none,id=disk,format=raw`, "-device", "nvme,serial=berth,drive=disk"];
    const child = Bun.spawn(
      [
        ...[qemu, ...firmware.flatMap((folder) => ["-L", folder]), "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2560"],
        ...["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-nic", "none", ...disk],
        ...["-kernel", kernel, "-initrd", join(this.#folder, "initramfs"), "-append", `console=ttyS0 quiet panic=-1 scenario=${scenario}`],
      ],
      { stdin: "ignore", stdout: "pipe", stderr: "pipe", env: { ...process.env, LD_LIBRARY_PATH: libraries } },
    );
    const timer = setTimeout(() => child.kill("SIGKILL"), guestLimit);
    const errors = new Response(child.stderr).text();
    let said = "";
    try {
      for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
        said += chunk.replaceAll("\r", "");
        if (said.includes("\nGUEST cut the power\n")) child.kill("SIGKILL");
      }
      await child.exited;
      return said + (await errors);
    } finally {
      clearTimeout(timer);
      child.kill("SIGKILL");
    }
  }

  [Symbol.dispose](): void {
    for (const folder of [this.#folder, ...(this.#disk === undefined ? [] : [dirname(this.#disk)])]) rmSync(folder, { recursive: true, force: true });
  }
}

/** Lines of a guest that count: results of checks, and its end. */
export const resultsOf = (said: string): string[] => said.split("\n").filter((line) => /^GUEST (ok|FAIL|end) /.test(line));
