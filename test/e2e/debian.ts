import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const cache = resolve(import.meta.dir, "../../node_modules/.cache/berth-debs");

/**
 * A program of a Debian package: the one on PATH, or the package downloaded and unpacked into a cache. It is never installed, since that
 * could start a service. undefined where apt can't give it.
 */
export function debianProgram(name: string, path: string, packageName: string = name): string | undefined {
  return Bun.which(name) ?? unpackedProgram(path, packageName);
}

/** Debian's name for this machine, of which folders of libraries are called. */
export const triple = `${process.arch === "arm64" ? "aarch64" : "x86_64"}-linux-gnu`;

/** As debianProgram, but always the package's own, whatever is on PATH. */
export function unpackedProgram(path: string, packageName: string): string | undefined {
  const tree = unpackedTree(packageName);
  if (tree === undefined) return undefined;
  const program = join(tree, path);
  return existsSync(program) ? program : undefined;
}

/** Where a package's files lie, unpacked. undefined where apt can't give it. */
export function unpackedTree(packageName: string): string | undefined {
  if (Bun.which("apt-get") === null) return undefined;
  const folder = join(cache, packageName);
  if (existsSync(folder)) return folder;
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, "get-"));
  try {
    const got = Bun.spawnSync(["apt-get", "download", packageName], { cwd: work, stdout: "ignore", stderr: "ignore" });
    const file = readdirSync(work).find((entry) => entry.endsWith(".deb"));
    if (got.exitCode !== 0 || file === undefined) return undefined;
    if (Bun.spawnSync(["dpkg", "-x", file, "tree"], { cwd: work }).exitCode !== 0) return undefined;
    renameSync(join(work, "tree"), folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return folder;
}

/** The docker commands to test with: the one on PATH, and Debian's (20.10 on bookworm, 26.1 on trixie). */
export function dockerClients(): { version: string; program: string }[] {
  const programs = new Set([Bun.which("docker") ?? undefined, unpackedProgram("usr/bin/docker", "docker.io"), unpackedProgram("usr/bin/docker", "docker-cli")]);
  return [...programs].flatMap((program) => {
    if (program === undefined) return [];
    const version = /version ([\d.]+)/.exec(Bun.spawnSync([program, "--version"]).stdout.toString())?.[1];
    return version === undefined ? [] : [{ version, program }];
  });
}

/**
 * Docker Compose: the one on PATH, or Debian trixie's. Version 1 (bookworm) is no measure: it reads a field of images that Docker has left
 * out since API 1.45.
 */
export function composeProgram(): string | undefined {
  const program = debianProgram("docker-compose", "usr/libexec/docker/cli-plugins/docker-compose");
  if (program === undefined) return undefined;
  const version = Bun.spawnSync([program, "version", "--short"]).stdout.toString();
  return /^v?[2-9]/.test(version) ? program : undefined;
}

/** Docker's registry, as Debian ships it, on a free port of loopback. */
export async function startDockerRegistry(program: string): Promise<{ host: string; pid: number } & AsyncDisposable> {
  const root = mkdtempSync(join(tmpdir(), "berth-docker-registry-"));
  const port = await freePort();
  const config = join(root, "config.yml");
  writeFileSync(
    config,
    `version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: ${join(root, "data")}}, delete: {enabled: true}}\nhttp: {addr: "127.0.0.1:${port}"}\n`,
  );
  const child = Bun.spawn([program, "serve", config], { stdio: ["ignore", "ignore", "ignore"] });
  const stop = async (): Promise<void> => {
    child.kill();
    await child.exited;
    rmSync(root, { recursive: true, force: true });
  };
  for (let i = 0; i < 500; i++) {
    if ((await fetch(`http://127.0.0.1:${port}/v2/`).catch(() => undefined))?.ok)
      return { host: `127.0.0.1:${port}`, pid: child.pid, [Symbol.asyncDispose]: stop };
    await Bun.sleep(20);
  }
  await stop();
  throw new Error("docker-registry doesn't answer");
}

/** A port of loopback that is free at the moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
