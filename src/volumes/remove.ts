import { conflict, messageOf, notFound, prefixed, unavailable } from "../lib/errors.ts";
import { setPhase, usersOf, type Context, type Entry } from "./context.ts";
import { foreignRecord, remoteOwner } from "./look-up.ts";
import { checkNotHeld, isHeld } from "./hold.ts";
import type { VolumeRecord } from "./types.ts";

/** Deleting row, files, no row. @throws EngineError notFound (unless forced), conflict while a container refers to it, unavailable where its files don't go */
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
    await removeLocal(ctx, entry);
  } else {
    // whatever a plugin can't remove is still there, and stays known
    await removeRemote(ctx, record, options.force === true);
    ctx.entries.delete(name);
  }
  forget(ctx, name, record.driver);
}

/** Where the files don't go, what is left of them stays a volume: it can be removed again once nothing keeps them. */
async function removeLocal(ctx: Context, entry: Entry): Promise<void> {
  const { name } = entry.record;
  try {
    await ctx.drivers.local.remove(entry.record);
  } catch (error) {
    setPhase(ctx, name, "ready");
    ctx.entries.set(name, entry);
    throw unavailable(`remove ${name}: its files can't be removed, and what is left of them stays: ${messageOf(error)}`, error);
  }
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
    .filter((entry) => !isHeld(entry) && entry.record.anonymous && usersOf(ctx, entry.record.name).length === 0);
  for (const { record } of gone) {
    setPhase(ctx, record.name, "deleting");
    ctx.store.afterCommit(() => void ctx.entries.delete(record.name));
  }
  return async () => {
    for (const entry of gone) {
      const { name, driver } = entry.record;
      try {
        if (driver === "local") await removeLocal(ctx, entry);
        else await removeRemote(ctx, entry.record, true);
        forget(ctx, name, driver);
      } catch (error) {
        // as with Docker: the container goes all the same
        ctx.log.error("a volume of a removed container stays", { volume: name, error: messageOf(error) });
      }
    }
  };
}

function forget(ctx: Context, name: string, driver: string): void {
  ctx.store.tx(() => {
    ctx.store.db.query("DELETE FROM volumes WHERE name = ?").run(name);
    ctx.events.emit("volume", "destroy", name, { driver });
  });
}
