import { existsSync, readdirSync } from "node:fs";
import { release } from "node:os";
import { nameOf, programOf } from "../kernel/process.ts";
import { internal, invalidArgument } from "../lib/errors.ts";
import type { Runtime } from "./types.ts";

export interface RuntimeProgram {
  name: string;
  /** Absolute path. */
  path: string;
  /** Given by --add-runtime, before our own. */
  arguments?: readonly string[];
  /** Where it keeps its state. */
  root: string;
}

const MOST_OUTPUT = 8192;

/** Runs a runtime's verb and gives its stderr with the exit code. */
export async function runVerb(
  command: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  input = "",
): Promise<{ exitCode: number; stderr: string }> {
  const child = Bun.spawn([...command], {
    env: { PATH: process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin", ...environment },
    stdio: [Buffer.from(input), "ignore", "pipe"],
  });
  const stderr = await new Response(child.stderr).text();
  return { exitCode: await child.exited, stderr: stderr.slice(0, MOST_OUTPUT) };
}

/** Any OCI runtime, by its commands alone: create (through conmon), start, delete, exec. */
export function createCommandRuntime(program: RuntimeProgram, globals: readonly string[] = []): Runtime {
  const globalArguments = [...(program.arguments ?? []), "--root", program.root, ...globals];
  const command = [program.path, ...globalArguments];
  let readOnlyBelow: Promise<boolean> | undefined;
  return {
    name: program.name,
    program: program.path,
    environment: {},
    globalArguments,
    writesPidInPlace: false,
    sendsTerminal: false,
    makesTmpfsPlaces: true,
    prepare: () => {},
    learn: () => {},
    start: async (id) => {
      const { exitCode, stderr } = await runVerb([...command, "start", id]);
      if (exitCode !== 0) throw internal(`${program.name} could not start container ${id}: ${stderr.trim()}`);
    },
    isWaiting: (id, pid) => isWaiting(`${program.root}/${id}/exec.fifo`, pid),
    delete: async (id) => {
      const { exitCode, stderr } = await runVerb([...command, "delete", "--force", id]);
      if (exitCode !== 0 && !/does not exist/.test(stderr)) throw internal(`${program.name} could not delete container ${id}: ${stderr.trim()}`);
    },
    execCommand: (id, { process, pidFile, log, tty, consoleSocket }) => {
      const verb = [...command, "--log", log, "--log-format", "json", "exec", "--process", process, "--pid-file", pidFile];
      if (tty) verb.push("--tty");
      if (consoleSocket !== undefined) verb.push("--console-socket", consoleSocket);
      return [...verb, id];
    },
    mountsReadOnlyBelow: () => (readOnlyBelow ??= knowsReadOnlyBelow(program.path)),
    update: async (id, resources) => {
      const { exitCode, stderr } = await runVerb([...command, "update", "--resources", "-", id], {}, JSON.stringify({ ...resources, devices: undefined }));
      if (exitCode !== 0) throw invalidArgument(`Cannot update container ${id}: ${stderr.trim()}`);
    },
    list: () => listRoot(program.root),
  };
}

/** Linux can since 5.12 (mount_setattr(2)). */
export const canKernelReadOnlyBelow = (): boolean => {
  const [major = 0, minor = 0] = release().split(".").map(Number);
  return major > 5 || (major === 5 && minor >= 12);
};

/** By the runtime's own word: `features` of the runtime spec 1.1. A runtime without that verb is taken not to know it. */
async function knowsReadOnlyBelow(program: string): Promise<boolean> {
  if (!canKernelReadOnlyBelow()) return false;
  try {
    const child = Bun.spawn([program, "features"], { stdio: ["ignore", "pipe", "ignore"] });
    const features: unknown = JSON.parse((await new Response(child.stdout).text()).slice(0, 1 << 20));
    const options = (features as { mountOptions?: unknown }).mountOptions;
    return Array.isArray(options) && options.includes("rro");
  } catch {
    return false;
  }
}

/** The start fifo is still there, and init still runs the runtime itself. */
export function isWaiting(fifo: string, pid: number): boolean {
  return existsSync(fifo) && runsRuntime(pid);
}

/** Whether a container's init runs the runtime itself yet (of which runc shows a copy, known by its thread's name only), or is gone. */
export function runsRuntime(pid: number): boolean {
  // the name holds where the path doesn't: init's program may lie on a mount that is gone, then its path is "/"
  if (/^(runc:\[|crun$|runc$)/.test(nameOf(pid) ?? "")) return true;
  const found = programOf(pid);
  return found === undefined || found.path.startsWith("/memfd:") || /(^|\/)(crun|runc)[^/]*$/.test(found.path.replace(/ \(deleted\)$/, ""));
}

export function listRoot(root: string): string[] {
  try {
    return readdirSync(root);
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return [];
    throw error;
  }
}
