import { notFound } from "../lib/errors.ts";
import type { Context } from "./context.ts";
import type { VolumeDriver, VolumeState } from "./driver.ts";
import type { VolumeRecord, Volumes } from "./types.ts";

/** See Volumes.listAll. Of two volumes with one name the engine's own counts, else the first. */
export async function listAll(ctx: Context): ReturnType<Volumes["listAll"]> {
  const known = new Map([...ctx.entries].map(([name, { record }]) => [name, record]));
  const { volumes, warnings } = await ctx.drivers.listRemote();
  for (const { driver, name, state } of volumes) if (!known.has(name)) known.set(name, foreignRecord(driver, name, state));
  return { volumes: [...known.values()].sort((a, b) => (a.name < b.name ? -1 : 1)), warnings };
}

/** See Volumes.inspect. */
export async function inspect(ctx: Context, name: string): ReturnType<Volumes["inspect"]> {
  const known = ctx.entries.get(name)?.record;
  if (known?.driver === "local") return known;
  if (known !== undefined) {
    const state = await (await ctx.drivers.get(known.driver)).inspect(known);
    if (state === undefined) throw notFound(`get ${name}: no such volume`);
    return { ...known, ...present(state) };
  }
  const found = (await ctx.drivers.listRemote()).volumes.find((each) => each.name === name);
  if (found === undefined) throw notFound(`get ${name}: no such volume`);
  return { ...foreignRecord(found.driver, name, found.state), ...present((await found.driver.inspect({ name })) ?? {}) };
}

/** The plugin that has a volume of this name, though the engine has no record of it: what is asked for by name alone is that one, as in Docker. */
export async function remoteOwner(ctx: Context, name: string): Promise<VolumeDriver | undefined> {
  return (await ctx.drivers.listRemote()).volumes.find((each) => each.name === name)?.driver;
}

/** See Volumes.checkDriver. */
export async function checkDriver(ctx: Context, name: string): Promise<void> {
  if (name !== "local") await ctx.drivers.get(name);
}

function present({ mountpoint, created, status }: VolumeState): Partial<VolumeRecord> & { status?: Record<string, unknown> } {
  return { ...(mountpoint !== undefined && { mountpoint }), ...(created !== undefined && { created }), ...(status !== undefined && { status }) };
}

/** What a plugin made on its own, or for another engine. */
export function foreignRecord(driver: VolumeDriver, name: string, { mountpoint = "", created = "" }: VolumeState): VolumeRecord {
  return { name, driver: driver.name, scope: driver.scope, mountpoint, created, labels: {}, options: {}, anonymous: false };
}
