import { rm } from "node:fs/promises";
import { unmount } from "../kernel/mount.ts";
import { conflict, notFound } from "../lib/errors.ts";
import { dataOf, directoryOf, setPhase, usersOf, type Context } from "./context.ts";

/** Deleting row, files, no row. @throws EngineError notFound (unless forced), conflict while a container refers to it */
export async function remove(ctx: Context, name: string, options: { force?: boolean } = {}): Promise<void> {
  using _lock = await ctx.mutex.lock(name);
  const entry = ctx.entries.get(name);
  if (entry === undefined) {
    if (options.force === true) return;
    throw notFound(`get ${name}: no such volume`);
  }
  const users = usersOf(ctx, name);
  if (users.length > 0) throw conflict(`remove ${name}: volume is in use - [${users.join(", ")}]`);
  setPhase(ctx, name, "deleting");
  ctx.entries.delete(name);
  await removeFiles(ctx, name);
  forget(ctx, name, entry.record.driver);
}

/** See Volumes.discard. */
export function discard(ctx: Context, names: readonly string[]): () => Promise<void> {
  const gone = [...new Set(names)]
    .flatMap((name) => ctx.entries.get(name) ?? [])
    .map(({ record }) => record)
    .filter(({ anonymous, name }) => anonymous && usersOf(ctx, name).length === 0);
  for (const { name } of gone) {
    setPhase(ctx, name, "deleting");
    ctx.store.afterCommit(() => void ctx.entries.delete(name));
  }
  return async () => {
    for (const { name, driver } of gone) {
      await removeFiles(ctx, name);
      forget(ctx, name, driver);
    }
  };
}

export async function removeFiles(ctx: Context, name: string): Promise<void> {
  // Whatever an option mounted must not be deleted with the directory.
  unmount(dataOf(ctx, name), { lazy: true });
  await rm(directoryOf(ctx, name), { recursive: true, force: true });
}

function forget(ctx: Context, name: string, driver: string): void {
  ctx.store.tx(() => {
    ctx.store.db.query("DELETE FROM volumes WHERE name = ?").run(name);
    ctx.events.emit("volume", "destroy", name, { driver });
  });
}
