import { conflict } from "../lib/errors.ts";
import { changeState, isRestarting, lookup, type Context } from "./context.ts";
import { resumeHealth, stopHealth, suspendHealth } from "./health.ts";

/** @throws EngineError conflict, also where it ends meanwhile */
export async function pause(ctx: Context, reference: string, options: { forCommit?: true } = {}): Promise<void> {
  const entry = lookup(ctx, reference);
  using _lock = await ctx.mutex.lock(entry.record.id);
  const { record, sandbox, generation } = entry;
  if (record.state.status === "restarting") throw conflict(isRestarting(record.id));
  if (sandbox === undefined || record.state.status === "starting") throw conflict(`container ${record.id} is not running`);
  if (record.state.status === "paused") throw conflict(`Container ${record.id} is already paused`);
  // a check that is frozen could neither end nor be killed
  suspendHealth(entry);
  try {
    await sandbox.pause();
  } catch (error) {
    resumeHealth(ctx, entry);
    // with its processes its cgroup has gone
    if (entry.sandbox !== sandbox) throw conflict(`container ${record.id} is not running`, error);
    throw error;
  }
  const { state } = entry.record;
  if (entry.generation !== generation || state.status !== "running") throw conflict(`container ${record.id} is not running`);
  try {
    if (options.forCommit !== true) stopHealth(entry);
    changeState(ctx, entry, { state: { ...state, status: "paused", ...options } }, { action: "pause" });
  } catch (error) {
    await sandbox.resume();
    resumeHealth(ctx, entry);
    throw error;
  }
}

/** @throws EngineError conflict */
export async function unpause(ctx: Context, reference: string): Promise<void> {
  const entry = lookup(ctx, reference);
  using _lock = await ctx.mutex.lock(entry.record.id);
  const { record, sandbox } = entry;
  if (sandbox === undefined || record.state.status !== "paused") throw conflict(`Container ${record.id} is not paused`);
  try {
    await sandbox.resume();
  } catch (error) {
    if (entry.sandbox !== sandbox) throw conflict(`Container ${record.id} is not paused`, error);
    throw error;
  }
  const { state } = entry.record;
  if (state.status !== "paused") return;
  const { forCommit: _over, ...rest } = state;
  changeState(ctx, entry, { state: { ...rest, status: "running" } }, { action: "unpause" });
  resumeHealth(ctx, entry);
}
