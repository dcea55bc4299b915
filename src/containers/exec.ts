import { conflict, EngineError, invalidArgument, messageOf, notFound } from "../lib/errors.ts";
import { within } from "../lib/within.ts";
import type { OutputListener, RunningExec } from "../sandbox/types.ts";
import { sessionOn } from "./attach.ts";
import { emitEvent, lookup, requireRunning, type Context, type Entry, type ExecEntry } from "./context.ts";
import { linkSettings } from "./linked.ts";
import { newId } from "./names.ts";
import { environmentOf } from "./spec.ts";
import type { AttachSession, ExecCreateOptions, ExecRecord } from "./types.ts";

/** Records of execs are in memory only, as Docker's; those that ended are kept this long for `inspect`. */
const keptMs = 5 * 60_000;
const sweepAbove = 64;
/** Execs of one container that nobody has started; beyond it the oldest are forgotten. */
const mostUnstarted = 1000;
/** How long a resize waits for the start, Docker's. */
const startPatienceMs = 10_000;

/** @throws EngineError invalidArgument, conflict */
export function execCreate(ctx: Context, reference: string, options: ExecCreateOptions): string {
  const entry = lookup(ctx, reference);
  const [entrypoint = "", ...args] = options.Cmd ?? [];
  if (entrypoint === "") throw invalidArgument("No exec command specified");
  if (options.WorkingDir && !options.WorkingDir.startsWith("/"))
    throw invalidArgument(`the working directory '${options.WorkingDir}' is invalid, it needs to be an absolute path`);
  requireReady(entry, reference);
  // most are started at once
  ctx.runtime.expectProcess();
  sweep(ctx, entry);
  const id = newId();
  const { Tty = false, AttachStdin = false, AttachStdout = false, AttachStderr = false } = options;
  const record: ExecRecord = {
    id,
    containerId: entry.record.id,
    running: false,
    exitCode: null,
    pid: 0,
    openStdin: AttachStdin,
    openStdout: AttachStdout,
    openStderr: AttachStderr,
    tty: Tty,
    privileged: options.Privileged ?? false,
    user: options.User || entry.record.config.User || "",
    workingDir: options.WorkingDir || entry.record.config.WorkingDir || "",
    entrypoint,
    arguments: args,
    ...(options.detachKeys === undefined ? {} : { detachKeys: options.detachKeys }),
    canRemove: false,
  };
  const links = linkSettings(ctx, entry.record, "skip").env;
  const env = environmentOf(entry.record, { tty: Tty, env: options.Env ?? [], links });
  ctx.execs.set(id, { record, env, ...(options.ConsoleSize === undefined ? {} : { consoleSize: options.ConsoleSize }) });
  entry.execs.add(id);
  tell(ctx, entry, record, `exec_create: ${commandOf(record)}`);
  return id;
}

/** Docker's refusals, in its words. */
function requireReady(entry: Entry, reference: string): void {
  if (entry.record.state.status === "paused") throw conflict(`Container ${reference} is paused, unpause the container before exec`);
  requireRunning(entry);
}

/** With Docker's blank after a command that has no arguments: events are compared as text. */
const commandOf = ({ entrypoint, arguments: args }: ExecRecord): string => `${entrypoint} ${args.join(" ")}`;

function tell(ctx: Context, entry: Entry, record: ExecRecord, action: string, attributes: Record<string, string> = {}): void {
  emitEvent(ctx, entry.record, { action, attributes: { ...attributes, execID: record.id } });
}

function find(ctx: Context, id: string): ExecEntry {
  const exec = ctx.execs.get(id);
  if (exec === undefined) throw notFound(`No such exec instance: ${id}`);
  return exec;
}

export function execInspect(ctx: Context, id: string): ExecRecord {
  return { ...find(ctx, id).record };
}

/** @throws EngineError notFound, conflict where it can't be started */
export function execCheck(ctx: Context, id: string): ExecRecord {
  const { record } = find(ctx, id);
  requireReady(lookup(ctx, record.containerId), record.containerId);
  if (record.exitCode !== null) throw conflict(`Error: Exec command ${id} has already run`);
  if (record.running) throw conflict(`Error: Exec command ${id} is already running`);
  return { ...record };
}

/** Runs it; with a listener, its streams are given from the first byte on. @throws EngineError notFound, conflict, and with exitCode 126 or 127 for its program */
export async function execStart(
  ctx: Context,
  id: string,
  options: { detach: boolean; consoleSize?: [number, number] },
  listener?: OutputListener,
): Promise<AttachSession | undefined> {
  const exec = find(ctx, id);
  const { record } = exec;
  execCheck(ctx, id);
  const entry = lookup(ctx, record.containerId);
  record.running = true;
  tell(ctx, entry, record, `exec_start: ${commandOf(record)}`);
  try {
    exec.running = await startProcess(entry, exec, options);
  } catch (error) {
    record.running = false;
    record.exitCode = (error instanceof EngineError ? error.exitCode : undefined) ?? 126;
    exec.finished = Date.now();
    entry.execs.delete(id);
    tell(ctx, entry, record, "exec_die", { exitCode: String(record.exitCode) });
    throw error;
  } finally {
    exec.started?.resolve();
  }
  record.pid = exec.running.pid;
  const session = options.detach || listener === undefined ? undefined : attachTo(ctx, entry, exec.running, record, listener);
  void exec.running.exited.then(
    (exitCode) => finish(ctx, entry, exec, exitCode),
    (error: unknown) => {
      ctx.log.error("waiting for an exec", { exec: id, error: messageOf(error) });
      finish(ctx, entry, exec, 255);
    },
  );
  return session;
}

function attachTo(ctx: Context, entry: Entry, { io }: RunningExec, record: ExecRecord, listener: OutputListener): AttachSession {
  return sessionOn(io, listener, { tty: record.tty, closesStdin: !record.tty, detached: () => tell(ctx, entry, record, "exec_detach") });
}

async function startProcess(
  entry: Entry,
  { record, env, consoleSize }: ExecEntry,
  options: { detach: boolean; consoleSize?: [number, number] },
): Promise<NonNullable<ExecEntry["running"]>> {
  const { sandbox } = entry;
  if (sandbox === undefined) throw conflict(`container ${record.containerId} is not running`);
  const [rows, cols] = options.consoleSize ?? consoleSize ?? [0, 0];
  return await sandbox.exec({
    args: [record.entrypoint, ...record.arguments],
    env,
    cwd: record.workingDir,
    user: record.user,
    tty: record.tty,
    privileged: record.privileged,
    attachStdin: record.openStdin && !options.detach,
    attachStdout: record.openStdout && !options.detach,
    attachStderr: record.openStderr && !options.detach,
    ...(rows > 0 && cols > 0 ? { consoleSize: { rows, cols } } : {}),
  });
}

function finish(ctx: Context, entry: Entry, exec: ExecEntry, exitCode: number): void {
  const { record } = exec;
  if (!record.running) return;
  record.running = false;
  record.exitCode = exitCode;
  exec.running = undefined;
  exec.finished = Date.now();
  entry.execs.delete(record.id);
  if (ctx.phase !== "detached") tell(ctx, entry, record, "exec_die", { exitCode: String(exitCode) });
}

/** Waits for the start of one that isn't started yet: clients send both at once. @throws EngineError notFound, conflict */
export async function execResize(ctx: Context, id: string, rows: number, cols: number): Promise<void> {
  const exec = find(ctx, id);
  if (exec.running === undefined && exec.record.exitCode === null) {
    exec.started ??= Promise.withResolvers<void>();
    if (!(await within(exec.started.promise, startPatienceMs))) throw conflict("timeout waiting for exec session ready");
  }
  if (exec.running === undefined) throw conflict(`exec ${id} is not running`);
  exec.running.resize(rows, cols);
}

/** The container's run has ended, and with its pid namespace every exec in it; those never started can't be any more. */
export function endExecs(ctx: Context, entry: Entry): void {
  for (const id of entry.execs) {
    const exec = ctx.execs.get(id);
    if (exec?.record.running === true) continue;
    ctx.execs.delete(id);
    entry.execs.delete(id);
  }
}

/** The container is gone. */
export function dropExecs(ctx: Context, entry: Entry): void {
  for (const [id, { record }] of ctx.execs) if (record.containerId === entry.record.id) ctx.execs.delete(id);
}

/** Forgets what ended long ago or was never started, so that execs by the million don't fill the memory. */
function sweep(ctx: Context, entry: Entry): void {
  if (entry.execs.size >= mostUnstarted) {
    const oldest = [...entry.execs].find((id) => ctx.execs.get(id)?.record.running !== true);
    if (oldest !== undefined) {
      entry.execs.delete(oldest);
      ctx.execs.delete(oldest);
    }
  }
  if (ctx.execs.size <= sweepAbove) return;
  const before = Date.now() - keptMs;
  for (const [id, { finished }] of ctx.execs) if (finished !== undefined && finished < before) ctx.execs.delete(id);
}
