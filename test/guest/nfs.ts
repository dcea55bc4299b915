import { mkdirSync, writeFileSync } from "node:fs";

const nfsd = "/proc/fs/nfsd";

/** Mounts a tmpfs on `folder` for startNfs to serve. */
export function prepareNfs(folder: string): void {
  mkdirSync(folder);
  run("mount", "-t", "tmpfs", "tmpfs", folder);
  run("mount", "-t", "nfsd", "nfsd", nfsd);
  mkdirSync("/var/lib/nfs/v4recovery", { recursive: true });
}

/** Serves `folder` as the root of NFS 4 to 127.0.0.1, by the kernel's own server, until it is stopped or the machine is off. */
export function startNfs(folder: string): void {
  writeFileSync(`${nfsd}/versions`, "-3 +4\n"); // NFS 3 would want a portmapper
  // What mountd answers when the kernel asks is written before it asks (mountd's formats: net/sunrpc/svcauth_unix.c, fs/nfsd/export.c): whose address it
  // is; what is exported to him, with the flags FSID, NOSUBTREECHECK and INSECURE_PORT, nobody's ids and the number of the export; and where number 0 is.
  const forever = 2147483647;
  const answers = {
    "auth.unix.ip": `nfsd 127.0.0.1 ${forever} here`,
    "nfsd.export": `here ${folder} ${forever} ${0x2402} 65534 65534 0`,
    "nfsd.fh": `here 1 \\x00000000 ${forever} ${folder}`,
  };
  for (const [cache, answer] of Object.entries(answers)) writeFileSync(`/proc/net/rpc/${cache}/channel`, `${answer}\n`);
  // Clients of a former boot would have 90 seconds to claim their files, in which nobody opens others: 10 are the least that may be set, and a word ends
  // them where clients are recorded.
  writeFileSync(`${nfsd}/nfsv4gracetime`, "10");
  writeFileSync(`${nfsd}/threads`, "2");
  writeFileSync(`${nfsd}/v4_end_grace`, "Y");
}

/** From now on nobody answers. What was told of exports is forgotten. */
export function stopNfs(): void {
  writeFileSync(`${nfsd}/threads`, "0");
}

function run(...command: string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(command, { stderr: "pipe" });
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr.toString()}`);
}
