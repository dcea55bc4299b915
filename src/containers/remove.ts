import { conflict, EngineError, messageOf, unavailable } from "../lib/errors.ts";
import { baseOf, changeState, emitEvent, isRunning, lookup, settle, type Context, type Entry } from "./context.ts";
import { deleteRows, removeDirectories } from "./create.ts";
import { dropExecs } from "./exec.ts";
import { killAndWait } from "./kill.ts";
import { endForwarding } from "./log-forwarding.ts";
import { logIsRead } from "./logs.ts";
import { logPathOf } from "./spec.ts";
import { removeLink } from "./remove-link.ts";
import { cancelRestart } from "./restarts.ts";
import { dropView, endCopies } from "./rootfs.ts";
import type { WaitResult } from "./types.ts";

/** Deleting row, files, no row. @throws EngineError conflict where it runs (without force) or is being removed */
export async function remove(ctx: Context, reference: string, options: { force?: boolean; volumes?: boolean; link?: boolean } = {}): Promise<void> {
  if (options.link === true && reference.includes("/", 1)) return await removeLink(ctx, reference.replace(/^\//, ""));
  const entry = lookup(ctx, reference);
  if (options.link === true) throw conflict("Conflict, cannot remove the default link name of the container");
  if (entry.removing !== undefined) throw conflict(`removal of container ${reference} is already in progress`);
  const refused = options.force === true ? undefined : whyNot(entry);
  if (refused !== undefined) throw conflict(`cannot remove container "/${entry.record.name}": ${refused}`);
  entry.removing = removeEntry(ctx, entry, options.volumes === true);
  try {
    await entry.removing;
  } catch (error) {
    // It may be tried again.
    entry.removing = undefined;
    throw error;
  }
}

function whyNot({ record: { state } }: Entry): string | undefined {
  if (state.status === "paused") return "container is paused and must be unpaused first";
  if (!isRunning(state)) return undefined;
  return `container is ${state.status === "starting" ? "running" : state.status}: stop the container before removing or force remove`;
}

/** How long, and for how many, `wait` still tells what became of a container that has removed itself. */
const rememberedMs = 10_000;
const mostRemembered = 1000;

/**
 * Clients that start a container and then wait for it (dockerode's `run`) find it there in dockerd, whose removal takes a tenth of a second: here it
 * may be gone before their second request has come.
 */
function remember(ctx: Context, { record }: Entry): void {
  const now = performance.now();
  for (const [id, { at }] of ctx.selfRemoved) {
    if (now - at < rememberedMs && ctx.selfRemoved.size < mostRemembered) break;
    ctx.selfRemoved.delete(id);
  }
  ctx.selfRemoved.set(record.id, { result: { exitCode: record.state.exitCode }, at: now });
}

/** The end of a `--rm` container that removed itself some seconds ago at most. */
export function rememberedEnd(ctx: Context, id: string): WaitResult | undefined {
  const end = ctx.selfRemoved.get(id);
  return end !== undefined && performance.now() - end.at < rememberedMs ? end.result : undefined;
}

/** `--rm`: after the exit, with the anonymous volumes. Never throws. */
export async function autoRemove(ctx: Context, entry: Entry): Promise<void> {
  if (entry.removing !== undefined) return;
  remember(ctx, entry);
  entry.removing = removeEntry(ctx, entry, true);
  try {
    await entry.removing;
  } catch (error) {
    entry.removing = undefined;
    ctx.log.error("removing a container after its exit", { container: entry.record.id, error: messageOf(error) });
  }
}

async function removeEntry(ctx: Context, entry: Entry, withVolumes: boolean): Promise<void> {
  const { id } = entry.record;
  cancelRestart(ctx, entry, {});
  if (entry.starting !== undefined) {
    entry.starting.abort.abort();
    // An `--rm` container whose start failed removes itself from inside that start.
    if (entry.record.state.status === "starting") await entry.starting.settled;
  }
  if (entry.sandbox !== undefined) await killAndWait(ctx, entry);
  await entry.cleaning;
  await endForwarding(ctx, entry);

  const { name } = entry.record;
  ctx.store.tx(() => {
    changeState(ctx, entry, { state: { ...baseOf(entry.record.state), status: "removing" } });
    ctx.store.db.query("UPDATE containers SET phase = 'deleting', name = NULL WHERE id = ?").run(id);
    // The rows that stay say which volumes go with it, also after a crash.
    if (!withVolumes) ctx.store.db.query("DELETE FROM container_volumes WHERE container = ?").run(id);
  });
  if (ctx.names.get(name) === id) ctx.names.delete(name);
  try {
    await removeFiles(ctx, entry);
  } catch (error) {
    // it is tried again by its name, unless another has that now
    if (!ctx.names.has(name)) ctx.names.set(name, id);
    throw error instanceof EngineError ? error : unavailable(`container ${name} can't be removed: ${messageOf(error)}`, error);
  }

  const discardVolumes = ctx.store.tx(() => {
    ctx.store.afterCommit(() => void ctx.entries.delete(id));
    const discard = deleteRows(ctx, id);
    emitEvent(ctx, entry.record, { action: "destroy" });
    return discard;
  });
  await discardVolumes();
  dropExecs(ctx, entry);
  entry.output.abandon(conflict(`container ${id} was removed`));
  // A removal that went well has no error, whatever the last start's was: clients would take it for the removal's.
  const result = { exitCode: entry.record.state.exitCode };
  settle(entry.exitWaiters, result);
  settle(entry.removeWaiters, result);
}

async function removeFiles(ctx: Context, entry: Entry): Promise<void> {
  await Promise.all([endCopies(entry), logIsRead(entry)]);
  await Promise.all([dropView(ctx, entry), ctx.logs.forget(logPathOf(ctx, entry.record))]);
  await removeDirectories(ctx, entry.record);
}
