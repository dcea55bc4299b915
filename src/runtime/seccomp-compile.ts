import { mkdirSync, writeFileSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { signalProcess } from "../kernel/pidfd.ts";
import { argumentsOf } from "../kernel/process.ts";
import { internal } from "../lib/errors.ts";
import type { RuntimeSpec, SeccompSpec } from "../oci/runtime-spec.ts";
import { runVerb } from "./command-runtime.ts";

const SIGKILL = 9;

/**
 * Lets crun compile a profile ahead of the first container that needs it (12–13 ms there): a container that is created, never started
 * and deleted. `use` gets the compiled filter's path. @throws EngineError
 */
export async function compileSeccomp(options: {
  program: string;
  environment: Readonly<Record<string, string>>;
  /** A directory of our own; it is made and removed. */
  scratch: string;
  profile: SeccompSpec;
  use: (compiled: string) => void;
}): Promise<void> {
  const { program, environment, scratch, profile, use } = options;
  const id = "seccomp";
  const command = [program, "--root", `${scratch}/state`, "--cgroup-manager", "disabled"];
  // crun makes its default devices below /dev
  mkdirSync(`${scratch}/rootfs/dev`, { recursive: true, mode: 0o700 });
  try {
    writeFileSync(`${scratch}/config.json`, JSON.stringify(compileSpec(scratch, program, profile)));
    // the waiting init inherits standard error, so that a pipe would never end
    const child = Bun.spawn([...command, "create", "--bundle", scratch, "--pid-file", `${scratch}/pid`, id], {
      env: { PATH: process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin", ...environment },
      stdio: ["ignore", "ignore", Bun.file(`${scratch}/stderr`)],
    });
    if ((await child.exited) !== 0)
      throw internal(`crun could not compile the default seccomp profile: ${(await readFile(`${scratch}/stderr`, "utf8")).trim()}`);
    use(`${scratch}/state/${id}/seccomp.bpf`);
  } finally {
    // crun's own forced delete finds processes by their cgroup, and there is none
    const pid = Number(await readFile(`${scratch}/pid`, "utf8").catch(() => "0"));
    if (pid > 1) signalProcess(pid, SIGKILL);
    await runVerb([...command, "delete", "--force", id], environment);
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Ends a compile that an engine before didn't live to end: its init would wait for ever. */
export async function endFormerCompile(scratch: string): Promise<void> {
  const pid = Number(await readFile(`${scratch}/pid`, "utf8").catch(() => "0"));
  // the pid may be another's by now
  if (pid > 1 && argumentsOf(pid).some((each) => each.startsWith(`${scratch}/`))) signalProcess(pid, SIGKILL);
  await rm(scratch, { recursive: true, force: true });
}

/** The least that crun takes: its own program stands in for the container's, which it looks for at create. */
function compileSpec(scratch: string, program: string, seccomp: SeccompSpec): RuntimeSpec {
  return {
    ociVersion: "1.0.2",
    process: { user: { uid: 0, gid: 0 }, args: ["/program"], env: [], cwd: "/" },
    root: { path: `${scratch}/rootfs` },
    mounts: [{ destination: "/program", type: "bind", source: program, options: ["bind", "ro"] }],
    linux: { namespaces: [{ type: "mount" }, { type: "pid" }], seccomp },
  };
}
