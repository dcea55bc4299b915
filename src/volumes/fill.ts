import { mkdir } from "node:fs/promises";
import { exchange } from "../kernel/copy-file.ts";
import { isEmptyDirectory } from "../kernel/fs.ts";
import { conflict, invalidArgument } from "../lib/errors.ts";
import type { IdMap } from "../oci/id-map.ts";
import { saveRecord, setPhase, stagingOf, type Context, type Entry } from "./context.ts";
import { checkNotHeld, runningWith, whileHeld } from "./hold.ts";
import { isMounted, shownOptions } from "./options.ts";
import type { VolumeRecord } from "./types.ts";

/**
 * A volume that is there only once `fill` has made its files. Its name is taken from the beginning; a crash leaves nothing. `attributes`: of the event.
 * @throws EngineError conflict where the name is taken, invalidArgument
 */
export async function makeFilled(
  ctx: Context,
  record: VolumeRecord,
  fill: (directory: string) => Promise<void>,
  attributes: Record<string, string>,
): Promise<VolumeRecord> {
  const { name, driver } = record;
  ctx.drivers.local.validate(name, {});
  await ctx.mutex.run(name, () => {
    checkNotMade(ctx, name);
    if (ctx.entries.has(name)) throw conflict(`create ${name}: a volume named ${name} already exists`);
    ctx.store.db.query("INSERT INTO volumes (name, driver, record, phase) VALUES (?, ?, ?, 'intent')").run(name, driver, JSON.stringify(record));
    ctx.making.add(name);
  });
  try {
    await ctx.drivers.local.create(record);
    await fill(record.mountpoint);
    ctx.store.tx(() => {
      setPhase(ctx, name, "ready");
      ctx.store.afterCommit(() => void ctx.entries.set(name, { record, active: new Set() }));
      ctx.events.emit("volume", "create", name, { driver, ...attributes });
    });
    return record;
  } catch (error) {
    await ctx.drivers.local.remove(record);
    ctx.store.db.query("DELETE FROM volumes WHERE name = ?").run(name);
    throw error;
  } finally {
    ctx.making.delete(name);
  }
}

/** @throws EngineError conflict while a volume of that name is being filled */
export function checkNotMade(ctx: Context, name: string): void {
  if (ctx.making.has(name)) throw conflict(`create ${name}: a volume named ${name} is being made by a copy or an import`);
}

/**
 * Other files for a volume: those that `fill` makes in a directory beside it, in one step. Until then it has its own, whatever happens.
 * `action`: the event's, and what errors say was attempted. `idMap`: of the new files. `onlyEmpty`: what has files keeps them. @throws EngineError conflict
 * for that and while a container runs with it, invalidArgument where its files are kept elsewhere
 */
export async function replaceFiles(
  ctx: Context,
  name: string,
  fill: (directory: string) => Promise<void>,
  { action, idMap, onlyEmpty = false, attributes = {} }: { action: string; idMap: IdMap | undefined; onlyEmpty?: boolean; attributes?: Record<string, string> },
): Promise<VolumeRecord> {
  const what = `${action} ${name}`;
  const check = (entry: Entry): void => {
    const { driver, options, snapshotOf } = entry.record;
    if (driver !== "local") throw invalidArgument(`${what}: its files are kept by driver ${driver}`);
    if (isMounted(options)) throw invalidArgument(`${what}: its files are kept elsewhere (${optionsText(options)})`);
    if (snapshotOf !== undefined) throw invalidArgument(`${what}: it is a snapshot, which stays as it is: clone it`);
    const users = runningWith(entry);
    if (users.length > 0) throw conflict(`${what}: volume is in use by running containers - [${users.join(", ")}]`);
  };
  const checkFirst = (entry: Entry): void => {
    check(entry);
    checkNotHeld(entry, what);
  };
  const checkEmpty = ({ record }: Entry): void => {
    if (onlyEmpty && !isEmptyDirectory(record.mountpoint)) throw conflict(`${what}: the volume isn't empty; with force (--force) what is in it is replaced`);
  };
  const replace = async (entry: Entry): Promise<VolumeRecord> => {
    checkEmpty(entry);
    const staging = stagingOf(ctx, name);
    setPhase(ctx, name, "copying");
    try {
      await ctx.trees.removeTree(staging);
      await mkdir(staging, { mode: 0o755 });
      await fill(staging);
      return await ctx.mutex.run(name, () => {
        // a container may have started meanwhile, or have left files and ended
        check(entry);
        checkEmpty(entry);
        const { idMap: _before, ...rest } = entry.record;
        const record: VolumeRecord = { ...rest, ...(idMap !== undefined && { idMap }) };
        exchange(staging, record.mountpoint);
        try {
          ctx.store.tx(() => {
            saveRecord(ctx, record);
            ctx.events.emit("volume", action, name, { driver: "local", ...attributes });
            ctx.store.afterCommit(() => void (entry.record = record));
          });
        } catch (error) {
          exchange(staging, record.mountpoint);
          throw error;
        }
        return record;
      });
    } finally {
      await ctx.trees.removeTree(staging);
      setPhase(ctx, name, "ready");
    }
  };
  return await whileHeld(ctx, name, replace, checkFirst);
}

function optionsText(options: Record<string, string>): string {
  return Object.entries(shownOptions(options))
    .map(([key, value]) => `${key}=${value}`)
    .join(", ");
}
