import { conflict, messageOf, notFound, prefixed } from "../lib/errors.ts";
import { setPhase, usersOf, type Context } from "./context.ts";
import { foreignRecord, remoteOwner } from "./look-up.ts";
import { checkNotHeld, isHeld } from "./hold.ts";
import type { VolumeRecord } from "./types.ts";

/** Deleting row, files, no row. @throws EngineError notFound (unless forced), conflict while a container refers to it */
export async function remove(ctx: Context, name: string, options: { force?: boolean } = {}): Promise<void> {
  // before, too: whoever has it may be waiting for its server
  checkUnused(ctx, name);
  using _lock = await ctx.mutex.lock(name);
  const entry = ctx.entries.get(name);
  if (entry === undefined) {
    const owner = await remoteOwner(ctx, name);
    if (owner !== undefined) return await removeRemote(ctx, foreignRecord(owner, name, {}), options.force === true);
    if (options.force === true) return;
    throw notFound(`get ${name}: no such volume`);
  }
  checkUnused(ctx, name);
  checkNotHeld(entry, `remove ${name}`);
  const { record } = entry;
  if (record.driver === "local") {
    setPhase(ctx, name, "deleting");
    ctx.entries.delete(name);
    await ctx.drivers.local.remove(record);
  } else {
    // whatever a plugin can't remove is still there, and stays known
    await removeRemote(ctx, record, options.force === true);
    ctx.entries.delete(name);
  }
  forget(ctx, name, record.driver);
}

function checkUnused(ctx: Context, name: string): void {
  const users = usersOf(ctx, name);
  if (users.length > 0) throw conflict(`remove ${name}: volume is in use - [${users.join(", ")}]`);
}

/** By force the record goes whatever the plugin says, as in Docker. */
async function removeRemote(ctx: Context, record: VolumeRecord, force: boolean): Promise<void> {
  try {
    await (await ctx.drivers.get(record.driver)).remove(record);
  } catch (error) {
    if (!force) throw prefixed(`remove ${record.name}: `, error);
    ctx.log.warn("a volume's record went by force, its plugin didn't remove it", { volume: record.name, plugin: record.driver, error: messageOf(error) });
  }
}

/** See Volumes.discard. */
export function discard(ctx: Context, names: readonly string[]): () => Promise<void> {
  const gone = [...new Set(names)]
    .flatMap((name) => ctx.entries.get(name) ?? [])
    .filter((entry) => !isHeld(entry))
    .map(({ record }) => record)
    .filter(({ anonymous, name }) => anonymous && usersOf(ctx, name).length === 0);
  for (const { name } of gone) {
    setPhase(ctx, name, "deleting");
    ctx.store.afterCommit(() => void ctx.entries.delete(name));
  }
  return async () => {
    for (const record of gone) {
      if (record.driver === "local") await ctx.drivers.local.remove(record);
      else await removeRemote(ctx, record, true);
      forget(ctx, record.name, record.driver);
    }
  };
}

function forget(ctx: Context, name: string, driver: string): void {
  ctx.store.tx(() => {
    ctx.store.db.query("DELETE FROM volumes WHERE name = ?").run(name);
    ctx.events.emit("volume", "destroy", name, { driver });
  });
}
