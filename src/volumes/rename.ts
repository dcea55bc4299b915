import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { conflict, invalidArgument, messageOf, unavailable } from "../lib/errors.ts";
import { followRename } from "./clone.ts";
import { dataOf, find, saveRecord, setPhase, usersOf, type Context } from "./context.ts";
import { checkNotMade } from "./fill.ts";
import { checkNotHeld } from "./hold.ts";
import type { VolumeRecord } from "./types.ts";

/** See Volumes.rename. */
export async function rename(ctx: Context, name: string, to: string, follow: (before: VolumeRecord, after: VolumeRecord) => void): Promise<VolumeRecord> {
  if (to === "") throw invalidArgument(`rename ${name}: the new name is empty`);
  if (name === to) throw invalidArgument(`rename ${name}: that is its name already`);
  // two of a kind in the order of their names, as everywhere
  const [first = "", second = ""] = [name, to].sort();
  using _one = await ctx.mutex.lock(first);
  using _other = await ctx.mutex.lock(second);
  const entry = find(ctx, name);
  const before = entry.record;
  const driver = await ctx.drivers.get(before.driver);
  if (driver.rename === undefined) throw invalidArgument(`rename ${name}: volumes of driver ${before.driver} have the names that it gives them`);
  driver.validate(to, before.options);
  checkNotHeld(entry, `rename ${name}`);
  checkNotMade(ctx, to);
  if (ctx.entries.has(to)) throw conflict(`rename ${name}: a volume named ${to} already exists`);
  if (usersOf(ctx, to).length > 0) throw conflict(`rename ${name}: a container is being made with a volume named ${to}`);
  const record: VolumeRecord = { ...before, name: to, mountpoint: dataOf(ctx, to), anonymous: false };
  const write = (from: VolumeRecord, now: VolumeRecord, phase: "renaming" | "ready"): void => {
    // what a crash between this and the directory's new name leaves is put right by the next start, which reads the old name here
    const document = phase === "renaming" ? { ...now, renamedFrom: from.name } : now;
    ctx.store.db.query("UPDATE volumes SET name = ?, record = ?, phase = ? WHERE name = ?").run(now.name, JSON.stringify(document), phase, from.name);
    ctx.store.db.query("UPDATE container_volumes SET volume = ? WHERE volume = ?").run(now.name, from.name);
    follow(from, now);
    followRename(ctx, from.name, now.name, (each) => saveRecord(ctx, each));
    ctx.store.afterCommit(() => {
      ctx.entries.delete(from.name);
      ctx.entries.set(now.name, Object.assign(entry, { record: now }));
    });
  };
  ctx.store.tx(() => {
    write(before, record, "renaming");
    ctx.events.emit("volume", "rename", to, { driver: record.driver, oldName: name });
  });
  try {
    await driver.rename(before, record);
  } catch (error) {
    ctx.store.tx(() => {
      write(record, before, "ready");
      ctx.events.emit("volume", "rename", name, { driver: record.driver, oldName: to });
    });
    throw unavailable(`rename ${name}: ${messageOf(error)}`, error);
  }
  ctx.store.tx(() => {
    saveRecord(ctx, record);
    setPhase(ctx, to, "ready");
  });
  return record;
}

/** Finishes what an engine that died had begun. Gives the record as it is now. */
export async function finishRename(ctx: Context, { renamedFrom, ...record }: VolumeRecord & { renamedFrom?: string }): Promise<VolumeRecord> {
  const { name } = record;
  if (renamedFrom !== undefined && !existsSync(dirname(record.mountpoint))) {
    await ctx.drivers.local.rename!({ ...record, name: renamedFrom, mountpoint: dataOf(ctx, renamedFrom) }, record);
  }
  ctx.store.tx(() => {
    saveRecord(ctx, record);
    setPhase(ctx, name, "ready");
  });
  return record;
}
