import { messageOf } from "../lib/errors.ts";
import { realtimeNano } from "../kernel/clock.ts";
import { formatNano } from "../lib/time.ts";
import type { HealthConfig } from "../oci/image.ts";
import type { RunningSandbox } from "../sandbox/types.ts";
import { emitEvent, type Context, type Entry } from "./context.ts";
import { environmentOf } from "./spec.ts";
import type { Health, HealthResult } from "./types.ts";

/** Docker's defaults and limits. */
const defaults = { interval: 30e9, timeout: 30e9, startInterval: 5e9, retries: 3 };
const keptResults = 5;
const keptOutput = 4096;

export interface HealthMonitor {
  stop(): void;
}

/** The command of a health check, or undefined where there is none. */
export function healthCommand(config: HealthConfig | null | undefined, shell: string[] | null | undefined): string[] | undefined {
  const [kind, ...rest] = config?.Test ?? [];
  if (kind === "CMD") return rest;
  if (kind === "CMD-SHELL") return [...(shell ?? ["/bin/sh", "-c"]), rest[0] ?? ""];
  return undefined;
}

/** The state after one more result. Failures within the start period don't count. */
export function nextHealth(health: Health, result: HealthResult, options: { retries: number; starting: boolean }): Health {
  const log = [...health.Log, result].slice(-keptResults);
  if (result.ExitCode === 0) return { Status: "healthy", FailingStreak: 0, Log: log };
  if (options.starting && health.Status === "starting") return { ...health, Log: log };
  const streak = health.FailingStreak + 1;
  return { Status: streak >= options.retries ? "unhealthy" : health.Status, FailingStreak: streak, Log: log };
}

/** Begins the checks of a running container that has any. */
export function startHealth(ctx: Context, entry: Entry): void {
  const { sandbox, record } = entry;
  const config = record.config.Healthcheck;
  const command = healthCommand(config, record.config.Shell);
  if (sandbox === undefined || command === undefined) {
    entry.record = { ...record, health: undefined };
    return;
  }
  entry.record = { ...record, health: { Status: "starting", FailingStreak: 0, Log: [] } };
  const begun = Date.now();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stopped = false;
  const starting = (): boolean => entry.record.health?.Status === "starting" && (Date.now() - begun) * 1e6 < (config?.StartPeriod ?? 0);
  const schedule = (): void => {
    const nano = starting() ? config?.StartInterval || defaults.startInterval : config?.Interval || defaults.interval;
    timer = setTimeout(() => void check(), nano / 1e6);
  };
  const check = async (): Promise<void> => {
    if (entry.record.state.status === "running") {
      const within = starting();
      const result = await probe(entry, sandbox, command, config?.Timeout || defaults.timeout);
      if (stopped) return;
      note(ctx, entry, result, { retries: config?.Retries || defaults.retries, starting: within });
    }
    if (!stopped) schedule();
  };
  entry.health = {
    stop: () => {
      stopped = true;
      clearTimeout(timer);
    },
  };
  schedule();
}

function note(ctx: Context, entry: Entry, result: HealthResult, options: { retries: number; starting: boolean }): void {
  const before = entry.record.health;
  if (before === undefined) return;
  const health = nextHealth(before, result, options);
  entry.record = { ...entry.record, health };
  if (health.Status !== before.Status) emitEvent(ctx, entry.record, { action: `health_status: ${health.Status}` });
}

/** One check. Never throws: what went wrong is the result. Unlike Docker's, it makes no exec events. */
async function probe(entry: Entry, sandbox: RunningSandbox, command: string[], timeoutNano: number): Promise<HealthResult> {
  const start = formatNano(realtimeNano());
  const done = (ExitCode: number, Output: string): HealthResult => ({ Start: start, End: formatNano(realtimeNano()), ExitCode, Output });
  const output = new CappedText(keptOutput);
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    const { config } = entry.record;
    const exec = await sandbox.exec({
      args: command,
      env: environmentOf(entry.record),
      cwd: config.WorkingDir ?? "",
      user: config.User ?? "",
      tty: false,
      privileged: false,
      attachStdin: false,
      attachStdout: true,
      attachStderr: true,
    });
    const add = (chunk: Uint8Array): void => output.add(chunk);
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    using _subscription = exec.io.subscribe({ stdout: add, stderr: add, end: resolve });
    const late = new Promise<"late">((settle) => {
      timer = setTimeout(() => settle("late"), timeoutNano / 1e6);
    });
    const exitCode = await Promise.race([exec.exited, late]);
    if (exitCode === "late") {
      // Its parent in the host, the runtime, holds the pid until it has seen the end, so that it can't be another's yet.
      process.kill(exec.pid, "SIGKILL");
      return done(-1, `Health check exceeded timeout (${timeoutNano / 1e9}s)`);
    }
    await Promise.race([ended, Bun.sleep(100)]);
    return done(exitCode, output.toString());
  } catch (error) {
    return done(-1, messageOf(error));
  } finally {
    clearTimeout(timer);
  }
}

/** The first bytes of a stream, as text. */
class CappedText {
  readonly #limit: number;
  #chunks: Uint8Array[] = [];
  #size = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  add(chunk: Uint8Array): void {
    const room = this.#limit - this.#size;
    if (room <= 0) return;
    this.#chunks.push(chunk.slice(0, room));
    this.#size += Math.min(room, chunk.length);
  }

  toString(): string {
    return Buffer.concat(this.#chunks).toString("utf8");
  }
}
