import { describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { busyboxArchive } from "../busybox-image.ts";
import { skipped } from "../skips.ts";
import { Initramfs } from "./initramfs.ts";
import { guestTools, modulesInOrder, type GuestTools } from "./tools.ts";

/**
 * What the host can't show: the engine on pure cgroup v2 and an older kernel, in an emulated machine (some 10 to 20 times slower: behaviour only). The
 * checks are in scenario.ts, which runs inside; here the machine is put together, and the list of checks that must come out.
 */
const root = resolve(import.meta.dir, "../..");
const limit = 8 * 60_000;

const checks = [...readFileSync(join(import.meta.dir, "scenario.ts"), "utf8").matchAll(/^await check\("([^"]+)"/gm)].map((match) => match[1] as string);

function initramfs({ modules, apparmor }: GuestTools): Uint8Array {
  const image = new Initramfs();
  for (const folder of ["/proc", "/sys", "/dev", "/tmp", "/run", "/var", "/root", "/etc", "/bin"]) image.folder(folder);
  image.addHost("/bin/busybox");
  image.addProgram(join(root, "dist/berth"), "/usr/bin/berth");
  for (const program of ["crun", "conmon"]) image.addProgram(Bun.which(program) as string, `/usr/bin/${program}`);
  const [nftables = ""] = /\/\S*libnftables\.so\.1\b/.exec(Bun.spawnSync(["/sbin/ldconfig", "-p"]).stdout.toString()) ?? [];
  image.addProgram(nftables);
  image.add("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndockremap:x:990:990::/:/bin/false\n");
  image.add("/etc/group", "root:x:0:\ndockremap:x:990:\n");
  for (const name of ["subuid", "subgid"]) image.add(`/etc/${name}`, "dockremap:100000:65536\n");
  image.add("/etc/hosts", "127.0.0.1 localhost\n");
  image.add("/etc/resolv.conf", "nameserver 192.0.2.1\n");
  image.add("/init", readFileSync(join(import.meta.dir, "init.sh")), 0o755);
  for (const name of ["start.sh", "scenario.ts"]) image.addHost(join(import.meta.dir, name), `/guest/${name}`);
  image.addHost(apparmor, "/sbin/apparmor_parser");
  image.add("/guest/quota.img.gz", Bun.gzipSync(quotaDisk()));
  image.add("/guest/image.tar", busyboxArchive("guest"));
  image.add("/guest/context/Dockerfile", 'FROM guest\nRUN cat /sys/fs/cgroup/memory.max > /limit\nCMD ["cat", "/limit"]\n');
  const needed = modulesInOrder(modules, /^(overlay|veth|bridge|nf_tables|nft_.*|nf_nat|nf_conntrack|ext4|loop|quota_v2)$/);
  for (const path of needed) image.addHost(path, `/guest/modules/${path.split("/").at(-1)}`);
  image.add("/guest/modules/order", needed.map((path) => `${path.split("/").at(-1)}\n`).join(""));
  return image.bytes();
}

/** An ext4 file system that knows project quotas. */
function quotaDisk(): Uint8Array<ArrayBuffer> {
  const file = join(mkdtempSync(join(tmpdir(), "berth-quota-")), "disk");
  try {
    writeFileSync(file, "");
    truncateSync(file, 48 << 20);
    const { exitCode, stderr } = Bun.spawnSync(["mkfs.ext4", "-q", "-F", "-O", "quota,project", "-E", "quotatype=prjquota", file]);
    if (exitCode !== 0) throw new Error(`mkfs.ext4: ${stderr.toString()}`);
    return readFileSync(file);
  } finally {
    rmSync(dirname(file), { recursive: true });
  }
}

/** Boots it and reads what it says until it is off. */
async function boot(tools: GuestTools, archive: string): Promise<string> {
  const child = Bun.spawn(
    [
      ...[tools.qemu, ...tools.firmware.flatMap((folder) => ["-L", folder]), "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2560"],
      ...["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-nic", "none"],
      ...["-kernel", tools.kernel, "-initrd", archive, "-append", "console=ttyS0 quiet panic=-1"],
    ],
    { stdin: "ignore", stdout: "pipe", stderr: "pipe", env: { ...process.env, LD_LIBRARY_PATH: tools.libraries } },
  );
  const timer = setTimeout(() => child.kill("SIGKILL"), limit);
  try {
    const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    await child.exited;
    return out.replaceAll("\r", "") + err;
  } finally {
    clearTimeout(timer);
    child.kill("SIGKILL");
  }
}

describe.skipIf(skipped("root", "guest"))("a machine with pure cgroup v2", () => {
  test(
    "does everything there",
    async () => {
      const tools = guestTools() as GuestTools;
      const folder = mkdtempSync(join(tmpdir(), "berth-guest-"));
      try {
        writeFileSync(join(folder, "initramfs"), initramfs(tools));
        const said = await boot(tools, join(folder, "initramfs"));
        const lines = said.split("\n").filter((line) => line.startsWith("GUEST "));
        const wanted = checks.map((check) => `GUEST ok ${check}`);
        const found = lines.filter((line) => /^GUEST (ok|FAIL) /.test(line));
        if (found.join("\n") !== wanted.join("\n")) console.error(said.slice(-8000));
        expect(found).toEqual(wanted);
        expect(lines.at(-1)).toBe("GUEST end 0");
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    },
    limit + 60_000,
  );
});
