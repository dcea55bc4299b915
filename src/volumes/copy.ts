import { lstat, mkdir, readdir, rename } from "node:fs/promises";
import { internal, unavailable } from "../lib/errors.ts";
import type { Context } from "./context.ts";

/**
 * Copies a directory's content, with the directory's own owner and mode, into the empty `target`: owners, modes, times, xattrs, links and
 * devices as they are. It is copied beside (`staging`, same file system) and then moved in entry by entry, since renames follow no symbolic
 * link that a container already running with the volume might put there. @throws EngineError internal, unavailable where the disk is full
 */
export async function copyInto({ trees }: Context, source: string, target: string, staging: string): Promise<void> {
  await trees.removeTree(staging);
  await mkdir(staging, { mode: 0o700 });
  try {
    // coreutils know xattrs, devices and hard links; the source's trailing dot is its content.
    await run(["cp", "-a", "--", `${source}/.`, staging]);
    await run(["chown", "--reference", staging, "--", target]);
    await run(["chmod", "--reference", staging, "--", target]);
    for (const name of await readdir(staging, { encoding: "buffer" })) {
      const to = Buffer.concat([Buffer.from(`${target}/`), name]);
      if (!(await exists(to))) await rename(Buffer.concat([Buffer.from(`${staging}/`), name]), to);
    }
  } finally {
    await trees.removeTree(staging);
  }
}

async function exists(path: Buffer): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch {
    return false;
  }
}

async function run(command: string[]): Promise<void> {
  const child = Bun.spawn(command, { stdin: "ignore", stdout: "ignore", stderr: "pipe", env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" } });
  const [errors, code] = await Promise.all([new Response(child.stderr).text(), child.exited]);
  if (code === 0) return;
  const text = `filling a volume from the image: ${errors.trim().slice(0, 1000)}`;
  throw /: (No space left on device|Disk quota exceeded)$/m.test(errors) ? unavailable(text) : internal(text);
}
