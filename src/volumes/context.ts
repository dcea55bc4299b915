import { join } from "node:path";
import type { Events } from "../events/types.ts";
import { realtimeNano } from "../kernel/clock.ts";
import { notFound } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { formatNano } from "../lib/time.ts";
import type { IdMap } from "../oci/id-map.ts";
import type { KeyedMutex } from "../lib/mutex.ts";
import type { Plugins } from "../plugins/types.ts";
import type { Store } from "../store/store.ts";
import type { VolumeDrivers } from "./driver.ts";
import type { Trees } from "./trees.ts";
import type { Mounter } from "./mounter.ts";
import type { VolumeRecord } from "./types.ts";

export interface VolumesDeps {
  /** `<data-root>/volumes`. */
  root: string;
  store: Store;
  events: Events;
  log: Logger;
  /** Whose ids the files of new volumes have; undefined: the host's. */
  idMap?: IdMap;
  trees: Trees;
  /** Where drivers other than `local` come from. */
  plugins?: Plugins;
}

export interface Entry {
  record: VolumeRecord;
  /** Containers that run with it. */
  active: Set<string>;
}

/** What the verbs share. Each holds the volume's lock, except for what is done in one step within a transaction. */
export interface Context extends VolumesDeps {
  /** Ready volumes by name. */
  entries: Map<string, Entry>;
  drivers: VolumeDrivers;
  /** Names of volumes whose files are being made, for as long as that takes. */
  making: Set<string>;
  mounter: Mounter;
  /** Sizes that are being taken. */
  counting: Map<string, Promise<number | undefined>>;
  mutex: KeyedMutex;
  /** A prune is under way. */
  pruning: boolean;
}

/** A row's life on disk. */
export type Phase = "intent" | "ready" | "copying" | "renaming" | "deleting";

export const dataOf = (ctx: Context, name: string): string => join(ctx.root, name, "_data");
/** Where copyUp copies to before it moves things in. */
export const stagingOf = (ctx: Context, name: string): string => join(ctx.root, name, "_copy");

/** A volume's time: Docker shows whole seconds. */
export const createdNow = (): string => formatNano(realtimeNano()).replace(/\.\d+Z$/, "Z");

/** The record of a directory of the engine's own, as its name alone tells it. */
export function plainRecord(ctx: Context, name: string): VolumeRecord {
  return { name, driver: "local", scope: "local", mountpoint: dataOf(ctx, name), created: createdNow(), labels: {}, options: {}, anonymous: false };
}

/** @throws EngineError notFound */
export function find(ctx: Context, name: string): Entry {
  const entry = ctx.entries.get(name);
  if (entry === undefined) throw notFound(`get ${name}: no such volume`);
  return entry;
}

/** After a change of what isn't looked up by. */
export function saveRecord(ctx: Context, record: VolumeRecord): void {
  ctx.store.db.query("UPDATE volumes SET record = ? WHERE name = ?").run(JSON.stringify(record), record.name);
}

export function setPhase(ctx: Context, name: string, phase: Phase): void {
  ctx.store.db.query("UPDATE volumes SET phase = ? WHERE name = ?").run(phase, name);
}

/** Containers whose rows refer to it. */
export function usersOf(ctx: Context, name: string): string[] {
  const rows = ctx.store.db.query<{ container: string }, [string]>("SELECT container FROM container_volumes WHERE volume = ?").all(name);
  return rows.map((row) => row.container);
}
