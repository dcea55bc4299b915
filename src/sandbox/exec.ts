import { existsSync, fchownSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { closeFd, O } from "../kernel/fs.ts";
import { acceptSocket, listenStream, makePipe, readFd, receiveFd, setNonBlocking } from "../kernel/pipe.ts";
import { openTerminal, setWindowSize } from "../kernel/pty.ts";
import { internal, messageOf } from "../lib/errors.ts";
import type { ChildStdio } from "../lib/spawner.ts";
import { idOnHost, type IdMap } from "../oci/id-map.ts";
import type { ProcessSpec, UserSpec } from "../oci/runtime-spec.ts";
import { execError } from "../runtime/oci-errors.ts";
import type { SandboxContext } from "./context.ts";
import type { RunningParts } from "./running.ts";
import { createStreamHub, type StreamHub } from "./stream-hub.ts";
import type { ExecSpec, RunningExec } from "./types.ts";

/** How long output may be silent, after the process has ended, while a child of it still holds the pipes. */
const DRAIN_MS = 100;

export interface ExecFiles {
  bundle: string;
  name: string;
  process: string;
  log: string;
  pid: string;
}

/** `kind` begins their names. */
export function execFiles(bundle: string, kind = "exec"): ExecFiles {
  const name = `${kind}-${crypto.randomUUID().slice(0, 18)}`;
  return { bundle, name, process: `${bundle}/${name}.json`, log: `${bundle}/${name}.log`, pid: `${bundle}/${name}.pid` };
}

/** What an engine that was killed has left of them in a bundle: the runtime has read it long ago, or never will. */
export function removeExecFiles(bundle: string): void {
  for (const name of readdirSync(bundle)) if (/^[a-z]+-[0-9a-f-]{18}\.(?:json|log|pid|tty)$/.test(name)) rmSync(`${bundle}/${name}`, { force: true });
}

/** The runtime's exec command on its way. */
export interface ExecChild {
  /** The runtime itself. */
  runtimePid: number;
  /** The process inside, as the host sees it; undefined: the runtime failed. */
  pid: Promise<number | undefined>;
  exited: Promise<number>;
  /** To the runtime itself. */
  signal(name: NodeJS.Signals): void;
}

/** One more process inside a running container. @throws EngineError; exitCode 126 or 127 where the program can't be run */
export async function createExec(ctx: SandboxContext, parts: RunningParts, rootfs: string, exec: ExecSpec): Promise<RunningExec> {
  ctx.runtime.expectProcess();
  await ctx.turns();
  const files = execFiles(ctx.paths.bundle(parts.spec.id));
  const process = execProcess(ctx, parts, rootfs, exec);
  try {
    writeFileSync(files.process, JSON.stringify(process), { mode: 0o600 });
    return exec.tty ? await execTerminal(ctx, parts, exec, files) : await execPipes(ctx, parts, exec, files, ownerOfPipes(process.user, parts.spec.idMap));
  } catch (error) {
    ctx.reaper.soon();
    throw error;
  } finally {
    for (const file of [files.process, files.log, files.pid]) rmSync(file, { force: true });
  }
}

/** The container's variables, the exec's over them; TERM for a terminal as Docker sets it. */
export function execEnvironment(container: readonly string[], exec: Pick<ExecSpec, "env" | "tty">): string[] {
  const variables = new Map<string, string>();
  for (const variable of [...container, ...(exec.tty ? ["TERM=xterm"] : []), ...exec.env]) {
    const at = variable.indexOf("=");
    if (at < 0) variables.delete(variable);
    else variables.set(variable.slice(0, at), variable);
  }
  return [...variables.values()];
}

/** The whole process as the runtime takes it. @throws EngineError */
export function execProcess(ctx: SandboxContext, { spec }: RunningParts, rootfs: string, exec: ExecSpec): ProcessSpec {
  const { config, host, env, idMap } = spec;
  return ctx.runtime.buildExec({ rootfs, config, host, ...(idMap !== undefined && { idMap }), ...exec, env: execEnvironment(env, exec) });
}

/**
 * A program that opens its own /dev/stdout must own the pipe. crun 1.8 gives it to the program's user from within the container, which the kernel refuses
 * where that has a user namespace.
 */
export function ownerOfPipes({ uid, gid }: UserSpec, map: IdMap | undefined): { uid: number; gid: number } | undefined {
  return map === undefined ? undefined : { uid: idOnHost(map.uids, uid) ?? 0, gid: idOnHost(map.gids, gid) ?? 0 };
}

async function execPipes(
  ctx: SandboxContext,
  parts: RunningParts,
  exec: ExecSpec,
  files: ExecFiles,
  owner: { uid: number; gid: number } | undefined,
): Promise<RunningExec> {
  // all pipes or none: there may be no descriptors left
  using made = new DisposableStack();
  const pipe = (): ReturnType<typeof makePipe> => {
    const ends = makePipe();
    for (const fd of [ends.read, ends.write]) made.adopt(fd, closeFd);
    if (owner !== undefined) fchownSync(ends.write, owner.uid, owner.gid);
    return ends;
  };
  const stdin = exec.attachStdin ? pipe() : undefined;
  const stdout = exec.attachStdout ? pipe() : undefined;
  const stderr = exec.attachStderr ? pipe() : undefined;
  made.move();
  if (stdin !== undefined) setNonBlocking(stdin.write, O.WRONLY);
  const hub = createStreamHub({
    outputs: [...(stdout ? [{ fd: stdout.read, name: "stdout" as const }] : []), ...(stderr ? [{ fd: stderr.read, name: "stderr" as const }] : [])],
    ...(stdin !== undefined && { input: { fd: stdin.write, isTerminal: false } }),
    isEager: false,
  });
  let child: ExecChild;
  try {
    child = await spawnExec(ctx, parts, files, [stdin?.read ?? "ignore", stdout?.write ?? "ignore", stderr?.write ?? "ignore"], undefined);
  } catch (error) {
    await hub.finish(0);
    throw error;
  } finally {
    for (const fd of [stdin?.read, stdout?.write, stderr?.write]) if (fd !== undefined) closeFd(fd);
  }
  return started(child, hub, exec, files, () => {});
}

async function execTerminal(ctx: SandboxContext, parts: RunningParts, exec: ExecSpec, files: ExecFiles): Promise<RunningExec> {
  const { child, terminal } = parts.runtime.sendsTerminal ? await execWithSocket(ctx, parts, files) : await execOnTerminal(ctx, parts, files);
  if (terminal === undefined) throw await failure(child, exec, files);
  const resize = (rows: number, cols: number): void => {
    setWindowSize(terminal, rows, cols);
    if (!parts.runtime.sendsTerminal) child.signal("SIGWINCH");
  };
  if (exec.consoleSize !== undefined) resize(exec.consoleSize.rows, exec.consoleSize.cols);
  const hub = createStreamHub({
    outputs: [{ fd: terminal, name: "stdout" }],
    input: { fd: terminal, isTerminal: true },
    isEager: !exec.attachStdout && !exec.attachStderr,
  });
  let isOpen = true;
  void child.exited.then(() => (isOpen = false));
  return started(child, hub, exec, files, (rows, cols) => {
    if (isOpen) resize(rows, cols);
  });
}

/** The runtime makes the terminal inside the container and sends us its master side. */
async function execWithSocket(ctx: SandboxContext, parts: RunningParts, files: ExecFiles): Promise<{ child: ExecChild; terminal: number | undefined }> {
  const socket = `${files.name}.tty`;
  const listener = listenStream(files.bundle, socket);
  try {
    const child = await spawnExec(ctx, parts, files, ["ignore", "ignore", "ignore"], { consoleSocket: `${files.bundle}/${socket}` });
    return { child, terminal: await receiveTerminal(ctx, listener, child.exited) };
  } finally {
    closeFd(listener);
    rmSync(`${files.bundle}/${socket}`, { force: true });
  }
}

/** The runtime runs on a terminal of ours and copies. */
async function execOnTerminal(ctx: SandboxContext, parts: RunningParts, files: ExecFiles): Promise<{ child: ExecChild; terminal: number }> {
  const { master, peer } = openTerminal();
  try {
    return { child: await spawnExec(ctx, parts, files, [peer, peer, peer], {}), terminal: master };
  } catch (error) {
    closeFd(master);
    throw error;
  } finally {
    closeFd(peer);
  }
}

/** The master side, sent by the runtime over the console socket. Undefined where it failed before. */
async function receiveTerminal(ctx: SandboxContext, listener: number, exited: Promise<number>): Promise<number | undefined> {
  const gone = exited.then(() => ctx);
  // a short-lived program may have ended before the news of its connection comes: what it sent is there all the same
  const readyOrGone = async (fd: number): Promise<void> => {
    if ((await Promise.race([ctx.readiness.wait(fd), gone])) === ctx) ctx.readiness.abandon(fd);
  };
  await readyOrGone(listener);
  const connection = acceptSocket(listener);
  if (connection === undefined) return undefined;
  try {
    await readyOrGone(connection);
    return receiveFd(connection);
  } finally {
    closeFd(connection);
  }
}

/** crun 1.8 leaves a process of an exec with the score of who called it, whatever its specification says: so that is set first. */
function withOomScore(command: readonly string[], score: number): string[] {
  return ["/bin/sh", "-c", '{ echo "$0" >/proc/self/oom_score_adj; } 2>/dev/null; exec "$@"', String(score), ...command];
}

/** `stdio` may be closed afterwards. `terminal`: the exec has one; with a socket where the runtime sends it. @throws EngineError where the runtime can't be started */
export async function spawnExec(
  ctx: SandboxContext,
  parts: RunningParts,
  files: ExecFiles,
  stdio: [ChildStdio, ChildStdio, ChildStdio],
  terminal: { consoleSocket?: string } | undefined,
): Promise<ExecChild> {
  const { runtime, spec } = parts;
  // crun writes the pid in place, so a pipe tells it at once; others rename a file over the given name
  const pidPipe = runtime.writesPidInPlace ? makePipe() : undefined;
  try {
    const program = runtime.execCommand(spec.id, {
      process: files.process,
      pidFile: pidPipe === undefined ? files.pid : "/proc/self/fd/3",
      log: files.log,
      tty: terminal !== undefined,
      ...terminal,
    });
    const command = spec.host.OomScoreAdj ? withOomScore(program, spec.host.OomScoreAdj) : program;
    const env = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", ...runtime.environment };
    const child = ctx.spawner.spawn(command, { cwd: files.bundle, env, stdio: [...stdio, ...(pidPipe === undefined ? [] : [pidPipe.write])] });
    const exited = child.exited.then(({ status }) => status);
    return {
      runtimePid: await child.pid,
      exited,
      signal: (name) => child.kill(name),
      pid: pidPipe === undefined ? pollPid(files.pid, exited) : readPid(ctx, pidPipe.read),
    };
  } catch (error) {
    if (pidPipe !== undefined) closeFd(pidPipe.read);
    throw internal(`cannot start ${runtime.program}: ${messageOf(error)}`, error);
  } finally {
    if (pidPipe !== undefined) closeFd(pidPipe.write);
  }
}

async function readPid(ctx: SandboxContext, fd: number): Promise<number | undefined> {
  try {
    setNonBlocking(fd, O.RDONLY);
    await ctx.readiness.wait(fd);
    const pid = Number.parseInt(Buffer.from(readFd(fd, 32) ?? []).toString("latin1"), 10);
    return Number.isInteger(pid) ? pid : undefined;
  } finally {
    closeFd(fd);
  }
}

async function pollPid(file: string, exited: Promise<number>): Promise<number | undefined> {
  let isGone = false;
  void exited.then(() => (isGone = true));
  for (;;) {
    const last = isGone;
    if (existsSync(file)) {
      const pid = Number.parseInt(readFileSync(file, "latin1"), 10);
      if (Number.isInteger(pid)) return pid;
    }
    if (last) return undefined;
    await Bun.sleep(2);
  }
}

async function started(child: ExecChild, hub: StreamHub, exec: ExecSpec, files: ExecFiles, resize: RunningExec["resize"]): Promise<RunningExec> {
  const pid = await child.pid;
  if (pid === undefined) {
    const error = await failure(child, exec, files);
    await hub.finish(0);
    throw error;
  }
  const exited = child.exited.then(async (exitCode) => {
    await hub.finish(DRAIN_MS);
    return exitCode;
  });
  return { pid, exited, io: hub, resize };
}

/** What the runtime wrote into its own log: lines of JSON. */
export async function failure(child: ExecChild, exec: ExecSpec, files: ExecFiles): Promise<Error> {
  await child.exited;
  let text = "";
  try {
    text = readFileSync(files.log, "utf8")
      .split("\n")
      .filter(Boolean)
      .map((line) => messageIn(line))
      .join("\n");
  } catch (error) {
    if ((error as { code?: string }).code !== "ENOENT") throw error;
  }
  return execError(text, exec.args);
}

function messageIn(line: string): string {
  try {
    return String((JSON.parse(line) as { msg?: unknown }).msg ?? "");
  } catch {
    return line;
  }
}
