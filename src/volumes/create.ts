import { conflict, prefixed } from "../lib/errors.ts";
import { createdNow, dataOf, saveRecord, setPhase, type Context } from "./context.ts";
import type { VolumeDriver } from "./driver.ts";
import { checkNotMade } from "./fill.ts";
import { remoteOwner } from "./look-up.ts";
import type { VolumeRecord, Volumes } from "./types.ts";

/** See Volumes.create. */
export async function create(ctx: Context, asked: Parameters<Volumes["create"]>[0]): Promise<VolumeRecord> {
  const name = asked.name || Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("hex");
  const options = asked.options ?? {};
  using _lock = await ctx.mutex.lock(name);
  checkNotMade(ctx, name);
  const existing = ctx.entries.get(name)?.record;
  if (existing !== undefined) {
    await checkDriver(ctx, existing, asked.driver);
    return existing;
  }
  const isNamed = asked.name !== undefined && asked.name !== "" && asked.anonymous !== true;
  const owner = isNamed && !asked.driver ? await remoteOwner(ctx, name) : undefined;
  const driver = owner ?? (await driverFor(ctx, asked.name, asked.driver));
  driver.validate(name, options);
  const isLocal = driver === ctx.drivers.local;
  const record: VolumeRecord = {
    name,
    driver: driver.name,
    scope: driver.scope,
    mountpoint: isLocal ? dataOf(ctx, name) : "",
    created: createdNow(),
    labels: asked.labels ?? {},
    options,
    given: { labels: asked.labels !== undefined, options: asked.options !== undefined },
    anonymous: asked.anonymous ?? !asked.name,
    ...(isLocal && ctx.idMap !== undefined && { idMap: ctx.idMap }),
  };
  await make(ctx, driver, record);
  return record;
}

/** @throws EngineError conflict; notFound for a driver that there isn't */
async function checkDriver(ctx: Context, { name, driver }: VolumeRecord, wanted: string | undefined): Promise<void> {
  if (!wanted || wanted === driver) return;
  await driverFor(ctx, name, wanted);
  throw conflict(`create ${name}: driver '${driver}' already has volume '${name}': volume name must be unique`);
}

/** `local` unless another is named. */
async function driverFor(ctx: Context, name: string | undefined, driver: string | undefined): Promise<VolumeDriver> {
  if (!driver || driver === "local") return ctx.drivers.local;
  try {
    return await ctx.drivers.get(driver);
  } catch (error) {
    throw prefixed(name ? `create ${name}: ` : "", error);
  }
}

/** Intent row, files, ready row. */
async function make(ctx: Context, driver: VolumeDriver, record: VolumeRecord): Promise<void> {
  const { name } = record;
  ctx.store.db.query("INSERT INTO volumes (name, driver, record, phase) VALUES (?, ?, ?, 'intent')").run(name, driver.name, JSON.stringify(record));
  try {
    record.mountpoint = await driver.create(record);
  } catch (error) {
    ctx.store.db.query("DELETE FROM volumes WHERE name = ?").run(name);
    throw driver === ctx.drivers.local ? error : prefixed(`create ${name}: `, error);
  }
  ctx.store.tx(() => {
    if (driver !== ctx.drivers.local) saveRecord(ctx, record);
    setPhase(ctx, name, "ready");
    ctx.store.afterCommit(() => void ctx.entries.set(name, { record, active: new Set() }));
    ctx.events.emit("volume", "create", name, { driver: driver.name });
  });
}
