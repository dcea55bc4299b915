import { conflict } from "../lib/errors.ts";
import { changeState, lookup, type Context } from "./context.ts";
import { resumeHealth, stopHealth, suspendHealth } from "./health.ts";

/** @throws EngineError conflict */
export async function pause(ctx: Context, reference: string, options: { forCommit?: true } = {}): Promise<void> {
  const entry = lookup(ctx, reference);
  using _lock = await ctx.mutex.lock(entry.record.id);
  const { record, sandbox, generation } = entry;
  if (sandbox === undefined || record.state.status === "starting") throw conflict(`container ${record.id} is not running`);
  if (record.state.status === "paused") throw conflict(`container ${record.id} is already paused`);
  // a check that is frozen could neither end nor be killed
  suspendHealth(entry);
  try {
    await sandbox.pause();
  } catch (error) {
    resumeHealth(ctx, entry);
    throw error;
  }
  const { state } = entry.record;
  // It may have ended meanwhile.
  if (entry.generation !== generation || state.status !== "running") return;
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
  if (sandbox === undefined || record.state.status !== "paused") throw conflict(`container ${record.id} is not paused`);
  await sandbox.resume();
  const { state } = entry.record;
  if (state.status !== "paused") return;
  const { forCommit: _over, ...rest } = state;
  changeState(ctx, entry, { state: { ...rest, status: "running" } }, { action: "unpause" });
  resumeHealth(ctx, entry);
}
