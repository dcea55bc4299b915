import { chown, mkdir } from "node:fs/promises";
import { realtimeNano } from "../kernel/clock.ts";
import { conflict, invalidArgument, notFound } from "../lib/errors.ts";
import { formatNano } from "../lib/time.ts";
import { rootOnHost } from "../oci/id-map.ts";
import { dataOf, setPhase, type Context } from "./context.ts";
import { parseLocalOptions } from "./options.ts";
import type { VolumeRecord, Volumes } from "./types.ts";

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

/** See Volumes.create. */
export async function create(ctx: Context, asked: Parameters<Volumes["create"]>[0]): Promise<VolumeRecord> {
  const driver = asked.driver || "local";
  if (driver !== "local") throw notFound(`${asked.name ? `create ${asked.name}: ` : ""}error looking up volume plugin ${driver}: plugin "${driver}" not found`);
  const name = asked.name || Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("hex");
  checkName(name);
  const options = asked.options ?? {};
  parseLocalOptions(name, options);
  using _lock = await ctx.mutex.lock(name);
  const existing = ctx.entries.get(name)?.record;
  if (existing !== undefined) {
    const differs = Object.keys(options).length > 0 && !sameOptions(options, existing.options);
    if (differs) throw conflict(`create ${name}: a volume named ${name} already exists with other options`);
    return existing;
  }
  const record: VolumeRecord = {
    name,
    driver,
    mountpoint: dataOf(ctx, name),
    // Docker shows whole seconds.
    created: formatNano(realtimeNano()).replace(/\.\d+Z$/, "Z"),
    labels: asked.labels ?? {},
    options,
    anonymous: asked.anonymous ?? !asked.name,
    ...(ctx.idMap !== undefined && { idMap: ctx.idMap }),
  };
  await make(ctx, record);
  return record;
}

function checkName(name: string): void {
  if (name.length <= 255 && namePattern.test(name)) return;
  throw invalidArgument(
    `create ${name}: ${JSON.stringify(name)} includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. ` +
      "If you intended to pass a host directory, use absolute path",
  );
}

/** Intent row, directory, ready row. */
async function make(ctx: Context, record: VolumeRecord): Promise<void> {
  const { name, driver } = record;
  ctx.store.db.query("INSERT INTO volumes (name, driver, record, phase) VALUES (?, ?, ?, 'intent')").run(name, driver, JSON.stringify(record));
  try {
    await mkdir(record.mountpoint, { recursive: true, mode: 0o755 });
    const { uid, gid } = rootOnHost(record.idMap);
    if (record.idMap !== undefined) await chown(record.mountpoint, uid, gid);
  } catch (error) {
    ctx.store.db.query("DELETE FROM volumes WHERE name = ?").run(name);
    throw error;
  }
  ctx.store.tx(() => {
    setPhase(ctx, name, "ready");
    ctx.store.afterCommit(() => void ctx.entries.set(name, { record, active: new Set(), mounted: false }));
    ctx.events.emit("volume", "create", name, { driver });
  });
}

function sameOptions(a: Record<string, string>, b: Record<string, string>): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}
