import { fchownSync, rmSync, writeFileSync } from "node:fs";
import { kinOf } from "../kernel/process.ts";
import { closeFd, O } from "../kernel/fs.ts";
import { makePipe, readFd, setNonBlocking } from "../kernel/pipe.ts";
import { longestTimer } from "../lib/sleep.ts";
import { within } from "../lib/within.ts";
import type { SandboxContext } from "./context.ts";
import { execFiles, execProcess, failure, ownerOfPipes, spawnExec, type ExecChild } from "./exec.ts";
import type { RunningParts } from "./running.ts";
import type { CommandOptions, CommandResult, ExecSpec } from "./types.ts";

/** How long output may come after the end, while a child of the command still holds the pipe. */
const drainMs = 100;
/** How long the runtime may take to start a command, and a killed one to go. */
const patienceMs = 30_000;
const readSize = 16 << 10;
/** By its file, the next engine knows a command that nobody waits for any more. */
export const commandKind = "command";

/**
 * Runs a command inside to its end, as cheaply as can be: one pipe for both outputs, so that they keep their order, and no fan-out. What lasts too long
 * is killed with all that it has started, unlike Docker's, whose children of a killed probe live on and pile up.
 * @throws EngineError with exitCode 126 or 127 where the program can't be run
 */
export async function runCommand(
  ctx: SandboxContext,
  parts: RunningParts,
  rootfs: string,
  spec: Pick<ExecSpec, "args" | "user" | "cwd">,
  options: CommandOptions,
): Promise<CommandResult> {
  await ctx.turns();
  const exec: ExecSpec = { ...spec, env: [], tty: false, privileged: false, attachStdin: false, attachStdout: true, attachStderr: true };
  const files = execFiles(ctx.paths.bundle(parts.spec.id), commandKind);
  const process = execProcess(ctx, parts, rootfs, exec);
  const owner = ownerOfPipes(process.user, parts.spec.idMap);
  writeFileSync(files.process, JSON.stringify(process), { mode: 0o600 });
  const pipe = makePipe();
  using output = collect(ctx, pipe.read, options.outputLimit);
  try {
    let child: ExecChild;
    try {
      if (owner !== undefined) fchownSync(pipe.write, owner.uid, owner.gid);
      child = await spawnExec(ctx, parts, files, ["ignore", pipe.write, pipe.write], undefined);
    } finally {
      closeFd(pipe.write);
    }
    const how = await ended(child, options);
    if (how === undefined) throw await failure(child, exec, files);
    if (typeof how === "string") return { exitCode: -1, output: output.text(), isLate: how === "late" };
    await within(output.ended, drainMs);
    return { exitCode: how, output: output.text(), isLate: false };
  } finally {
    for (const file of [files.process, files.log, files.pid]) rmSync(file, { force: true });
  }
}

/** The exit code; `late` or `killed` where it was ended; undefined where the runtime failed to start it. */
async function ended(child: ExecChild, { timeoutMs, signal }: CommandOptions): Promise<number | "late" | "killed" | undefined> {
  const { promise: stopped, resolve: stop } = Promise.withResolvers<"late" | "killed">();
  const onAbort = (): void => stop("killed");
  signal.addEventListener("abort", onAbort, { once: true });
  // what the runtime takes to start it isn't the command's time
  let timer = setTimeout(stop, patienceMs, "late");
  try {
    const pid = await Promise.race([child.pid, stopped]);
    if (pid === undefined) return undefined;
    if (typeof pid === "number") {
      clearTimeout(timer);
      timer = setTimeout(stop, Math.min(timeoutMs, longestTimer), "late");
    }
    const how = typeof pid === "number" ? await Promise.race([child.exited, stopped]) : pid;
    if (typeof how === "number") return how;
    if (typeof pid === "number") killCommand(pid, child.runtimePid);
    else child.signal("SIGKILL");
    await within(child.exited, patienceMs);
    return how;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}

/** Ends a command, process `pid` started by the runtime's, with all it has started: runtimes give it a session, and so a process group, of its own. */
export function killCommand(pid: number, runtimePid: number): void {
  const kin = kinOf(pid);
  // while it is the runtime's child, which hasn't reaped it, neither number can be another's
  if (kin?.parent !== runtimePid) return;
  const isOwnGroup = kin.group > 1 && kin.group !== kinOf(runtimePid)?.group;
  for (const target of isOwnGroup ? [-kin.group, pid] : [pid]) {
    try {
      process.kill(target, "SIGKILL");
    } catch (error) {
      if ((error as { code?: string }).code !== "ESRCH") throw error;
    }
  }
}

/** Reads all of a pipe, so that nobody waits in a write, and keeps the beginning. Owns the descriptor. */
function collect(ctx: SandboxContext, fd: number, limit: number): Disposable & { ended: Promise<void>; text: () => string } {
  setNonBlocking(fd, O.RDONLY);
  const kept: Uint8Array[] = [];
  let size = 0;
  let isOpen = true;
  const read = async (): Promise<void> => {
    while (isOpen) {
      const chunk = readFd(fd, readSize);
      if (chunk === undefined) await ctx.readiness.wait(fd);
      else if (chunk.length === 0) return;
      else {
        if (size < limit) kept.push(chunk.slice(0, limit - size));
        size += chunk.length;
      }
    }
  };
  return {
    ended: read(),
    text: () => Buffer.concat(kept).toString("utf8") + (size > limit ? "..." : ""),
    [Symbol.dispose]: () => {
      isOpen = false;
      ctx.readiness.abandon(fd);
      closeFd(fd);
    },
  };
}
