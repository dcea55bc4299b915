import { realtimeNano } from "../kernel/clock.ts";
import { isEnding } from "../kernel/process.ts";
import { messageOf } from "../lib/errors.ts";
import { sleep } from "../lib/sleep.ts";
import { formatNano } from "../lib/time.ts";
import { changeState, type Context, type Entry } from "./context.ts";
import { checkHealth } from "./health-check.ts";
import { healthProbe, type HealthProbe } from "./health-probe.ts";
import type { Health, HealthResult } from "./types.ts";

/** Docker's defaults and limits. Times in nanoseconds. */
const defaults = { interval: 30e9, timeout: 30e9, startInterval: 5e9, retries: 3 };
const keptResults = 5;

/** The state after one more result. Failures within the start period don't count. */
export function nextHealth(health: Health, result: HealthResult, options: { retries: number; starting: boolean }): Health {
  const log = [...health.Log, result].slice(-keptResults);
  if (result.ExitCode === 0) return { Status: "healthy", FailingStreak: 0, Log: log };
  if (options.starting && health.Status === "starting") return { ...health, Log: log };
  const streak = health.FailingStreak + 1;
  return { Status: streak >= options.retries ? "unhealthy" : health.Status, FailingStreak: streak, Log: log };
}

/** Begins the checks of a container that has just started, or was adopted: then what was known of it holds on. */
export function startHealth(ctx: Context, entry: Entry, options: { adopted: boolean; paused: boolean }): void {
  const { record } = entry;
  const probe = probeOf(ctx, entry);
  const before = record.health;
  if (probe === undefined) entry.record = { ...record, health: undefined };
  else if (!options.adopted || before === undefined) entry.record = { ...record, health: { Status: "starting", FailingStreak: 0, Log: before?.Log ?? [] } };
  if (probe !== undefined && !options.paused) openMonitor(ctx, entry, probe, options.adopted);
}

/** After a pause. */
export function resumeHealth(ctx: Context, entry: Entry): void {
  const probe = probeOf(ctx, entry);
  if (probe !== undefined && entry.health === undefined) openMonitor(ctx, entry, probe, false);
}

/** Ends the checks: the container has ended or is frozen. It counts as unhealthy from then on, without an event, as in Docker. */
export function stopHealth(entry: Entry): void {
  suspendHealth(entry);
  const { health } = entry.record;
  if (health !== undefined) entry.record = { ...entry.record, health: { ...health, Status: "unhealthy" } };
}

/** Ends the checks and leaves the status as it is. */
export function suspendHealth(entry: Entry): void {
  entry.health?.abort();
  entry.health = undefined;
}

function probeOf(ctx: Context, { record }: Entry): HealthProbe | undefined {
  try {
    return healthProbe(record.config);
  } catch (error) {
    // create has refused it, unless an older engine made this container
    ctx.log.warn("a health check that can't be understood is not done", { container: record.id, error: messageOf(error) });
    return undefined;
  }
}

function openMonitor(ctx: Context, entry: Entry, probe: HealthProbe, adopted: boolean): void {
  const controller = new AbortController();
  entry.health = controller;
  watch(ctx, entry, probe, controller.signal, adopted).catch((error: unknown) => {
    ctx.log.error("the health checks of a container have ended", { container: entry.record.id, error: messageOf(error) });
  });
}

/** One check after the other, an interval between the end of one and the start of the next, until `signal`. */
async function watch(ctx: Context, entry: Entry, probe: HealthProbe, signal: AbortSignal, adopted: boolean): Promise<void> {
  const { sandbox, record } = entry;
  if (sandbox === undefined) return;
  const { Interval, StartInterval, StartPeriod, Timeout, Retries } = record.config.Healthcheck ?? {};
  const isEarly = (): boolean => sandbox.age() < (StartPeriod ?? 0);
  const pause = (): number => {
    const isStarting = entry.record.health?.Status === "starting" && isEarly();
    return (isStarting ? StartInterval || defaults.startInterval : Interval || defaults.interval) / 1e6;
  };
  // hundreds that are adopted at one moment must not be asked at one moment for ever
  let wait = adopted ? pause() * Math.random() : pause();
  for (;;) {
    await sleep(wait, signal);
    if (signal.aborted) return;
    const [time, starting] = [realtimeNano(), isEarly()];
    const { exitCode, output } = await checkHealth(probe, entry.record, sandbox, { timeoutMs: (Timeout || defaults.timeout) / 1e6, signal });
    // of a container that has ended or was frozen meanwhile it says nothing; news of the end may be on their way yet
    if (signal.aborted || (exitCode !== 0 && isEnding(sandbox.pid))) return;
    const result = { Start: formatNano(time), End: formatNano(realtimeNano()), ExitCode: exitCode, Output: output };
    note(ctx, entry, result, { retries: Retries || defaults.retries, starting });
    wait = pause();
  }
}

/** Results are kept in memory; a change of status is written down with its event, so that the next engine knows it. */
function note(ctx: Context, entry: Entry, result: HealthResult, options: { retries: number; starting: boolean }): void {
  ctx.healthChecks.total++;
  if (result.ExitCode !== 0) ctx.healthChecks.failed++;
  const before = entry.record.health;
  if (before === undefined) return;
  const health = nextHealth(before, result, options);
  if (health.Status === before.Status) entry.record = { ...entry.record, health };
  else changeState(ctx, entry, { health }, { action: `health_status: ${health.Status}` });
  if (health.Status !== "unhealthy" || health.FailingStreak < options.retries) return;
  ctx.again.endUnhealthy(entry).catch((error: unknown) => {
    ctx.log.error("restarting an unhealthy container", { container: entry.record.id, error: messageOf(error) });
  });
}
