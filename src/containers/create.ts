import { mkdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { hostname as systemHostname } from "node:os";
import { realtimeNano } from "../kernel/clock.ts";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import { formatNano } from "../lib/time.ts";
import { createPause } from "../lib/turns.ts";
import type { ContainerConfig, HostConfig } from "../oci/container.ts";
import { platformOf } from "../oci/platform.ts";
import { documents, emitEvent, lookupPartner, tryLookup, type Context, type Entry } from "./context.ts";
import { endpointsOf } from "./endpoints.ts";
import { healthWarnings } from "./health-probe.ts";
import { linkedIds } from "./linked.ts";
import { mergeConfig } from "./merge.ts";
import { newId, parseName, randomName, shortId } from "./names.ts";
import { OutputHub } from "./output.ts";
import type { ContainerRecord, CreateOptions } from "./types.ts";
import { anyIdMap, chooseIdMap, usernsModeOf } from "./user-namespace.ts";
import { checkConfig, checkHostConfig, nameConflict, pinNamespaces, storageLimit } from "./validate.ts";
import { platformWarnings } from "./platform-warning.ts";
import { checkDrivers, planVolumes, prepareVolumes, type VolumePlan } from "./create-volumes.ts";

export function newEntry(record: ContainerRecord): Entry {
  return {
    record,
    generation: "generation" in record.state ? record.state.generation : 0,
    cleaning: Promise.resolve(),
    output: new OutputHub(),
    exitWaiters: new Set(),
    removeWaiters: new Set(),
    restartDelay: 0,
    logReaders: new Set(),
    execs: new Set(),
    copies: new Set(),
  };
}

/**
 * Checks everything, then: intent row, files, ready row. Whatever fails in between is undone; what a crash leaves, restore removes.
 * @throws EngineError invalidArgument, notFound (image), conflict (name)
 */
export async function create(ctx: Context, options: CreateOptions): Promise<{ id: string; warnings: string[] }> {
  const pause = createPause();
  const asked = checkConfig(options.config);
  // there may be thousands of ports in it
  await pause();
  const defaults = { ...ctx.options, cgroupnsMode: cgroupnsDefault(ctx, options), runtime: ctx.runtime.defaultName };
  const { host: filled, warnings } = checkHostConfig(asked, options.host, defaults);
  ctx.runtime.get(filled.Runtime);
  await pause();
  const { host: checked, warnings: dropped, apparmor } = ctx.runtime.validate(asked, filled);
  warnings.push(...dropped);
  const limit = storageLimit(checked);
  if (limit !== undefined) ctx.snapshots.checkLimit();
  if (usernsModeOf(asked, checked) === "private") await ctx.snapshots.checkIdMap(anyIdMap);
  if (!asked.Image) throw invalidArgument("no image was given to create a container from");
  const image = ctx.images.resolve(asked.Image, { platform: options.platform });
  using _lease = ctx.images.lease(image);
  await pause();
  if (options.platform === undefined) warnings.push(...platformWarnings(image));
  const config = checkConfig(mergeConfig(asked, image.config.config));
  await pause();
  const host = pinNamespaces(checked, {
    // that of the network may come later: it is asked for at start
    network: (reference) => tryLookup(ctx, reference)?.record.id ?? reference,
    other: (reference) => lookupPartner(ctx, reference).record.id,
  });
  const linked = linkedIds(ctx, host);
  const endpoints = endpointsOf(ctx, host, config, options.networking);
  const plan = planVolumes(ctx, config, host, asked);
  await checkDrivers(ctx, plan);
  if (options.readOnlyNonRecursive === true) for (const request of plan.requests) if (request.type === "bind") request.readOnlyBelow = "never";
  const idMap = chooseIdMap(ctx, asked, host);
  // most are started at once
  ctx.runtime.expectProcess();

  const id = newId();
  const name = reserveName(ctx, id, options.name);
  const record: ContainerRecord = {
    id,
    name,
    created: formatNano(realtimeNano()),
    imageId: image.id,
    ...(image.manifest === undefined ? {} : { imageManifest: { ...image.manifest, platform: platformOf(image.config) } }),
    layers: image.layers,
    // The snapshot's id is known inside the transaction below.
    snapshot: "" as ContainerRecord["snapshot"],
    path: "",
    args: [],
    config: { ...config, Hostname: hostnameOf(ctx, id, config, host) },
    host,
    ...(apparmor === undefined ? {} : { apparmor }),
    ...(linked === undefined ? {} : { linked }),
    endpoints,
    mounts: [],
    mountSources: [],
    ...(idMap !== undefined && { idMap }),
    platform: image.config.os || "linux",
    restartCount: 0,
    manuallyStopped: false,
    state: { status: "created", exitCode: 0, startedAt: "0", finishedAt: "0", error: "", oomKilled: false },
  };
  const [path = "", ...args] = [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])];
  Object.assign(record, { path, args });
  try {
    insertIntent(ctx, record);
    await makeFiles(ctx, record, plan, limit);
    const entry = newEntry(record);
    ctx.store.tx(() => {
      const { fixed, state } = documents(record);
      ctx.store.db.query("UPDATE containers SET phase = 'ready', record = ?, state = ? WHERE id = ?").run(fixed, state, id);
      ctx.store.afterCommit(() => void ctx.entries.set(id, entry));
      emitEvent(ctx, record, { action: "create" });
    });
  } catch (error) {
    await undo(ctx, record);
    throw error;
  }
  return { id, warnings: [...warnings, ...healthWarnings(config)] };
}

/** Docker's own default: a namespace of its own on v2. On v1 many programs look for the container's id in /proc/self/cgroup. */
function cgroupnsDefault(ctx: Context, { host: { Privileged }, clientBefore41 }: CreateOptions): "private" | "host" {
  if (ctx.runtime.cgroups.version === 2) return ctx.options.cgroupnsMode ?? "private";
  return Privileged === true || clientBefore41 === true ? "host" : (ctx.options.cgroupnsMode ?? "host");
}

/** The name, reserved in memory for `id`. @throws EngineError conflict, invalidArgument */
function reserveName(ctx: Context, id: string, asked: string | undefined): string {
  if (asked !== undefined && asked !== "") {
    const name = parseName(asked);
    const owner = ctx.names.get(name);
    if (owner !== undefined) throw nameConflict(name, owner);
    ctx.names.set(name, id);
    return name;
  }
  for (let attempt = 0; ; attempt++) {
    const name = randomName(attempt);
    if (ctx.names.has(name)) continue;
    ctx.names.set(name, id);
    return name;
  }
}

function hostnameOf(ctx: Context, id: string, config: ContainerConfig, host: HostConfig): string {
  const mode = host.NetworkMode ?? "";
  if (config.Hostname) return config.Hostname;
  if (mode === "host" || host.UTSMode === "host") return systemHostname();
  // A shared network namespace comes with its owner's hostname file.
  if (mode.startsWith("container:")) {
    const owner = ctx.entries.get(mode.slice("container:".length));
    if (owner !== undefined) return owner.record.config.Hostname ?? "";
  }
  return shortId(id);
}

function insertIntent(ctx: Context, record: ContainerRecord): void {
  ctx.store.tx(() => {
    record.snapshot = ctx.snapshots.createActive();
    const { fixed, state } = documents(record);
    ctx.store.db
      .query("INSERT INTO containers (id, name, phase, image, snapshot, record, state) VALUES (?, ?, 'intent', ?, ?, ?, ?)")
      .run(record.id, record.name, record.imageId, record.snapshot, fixed, state);
  });
}

async function makeFiles(ctx: Context, record: ContainerRecord, plan: VolumePlan, limit: number | undefined): Promise<void> {
  mkdirSync(ctx.paths.container(record.id), { mode: 0o710 });
  await ctx.snapshots.prepareActive(record.snapshot, record.layers);
  if (limit !== undefined) ctx.snapshots.limit(record.snapshot, limit);
  await prepareVolumes(ctx, record, plan);
}

/** Takes back a create that failed; what can't be undone is logged, and left to the next start of the engine. */
async function undo(ctx: Context, record: ContainerRecord): Promise<void> {
  try {
    await removeIntent(ctx, record);
  } catch (error) {
    ctx.log.error("undoing a failed create", { container: record.id, error: messageOf(error) });
  }
  if (ctx.names.get(record.name) === record.id) ctx.names.delete(record.name);
}

/** Removes all that a row which isn't ready stands for, then the row. Also for rows that a crash left. */
export async function removeIntent(ctx: Context, record: ContainerRecord): Promise<void> {
  await removeDirectories(ctx, record);
  const discardVolumes = ctx.store.tx(() => deleteRows(ctx, record.id));
  await discardVolumes();
}

/** The writable layer, where there is one yet, and the container's own directory. */
export async function removeDirectories(ctx: Context, { id, snapshot, host }: ContainerRecord): Promise<void> {
  const hasSnapshot = snapshot !== ("" as ContainerRecord["snapshot"]);
  if (hasSnapshot && storageLimit(host) !== undefined) ctx.snapshots.unlimit(snapshot);
  await Promise.all([hasSnapshot ? ctx.snapshots.remove(snapshot) : undefined, rm(ctx.paths.container(id), { recursive: true, force: true })]);
}

/**
 * Within a transaction: the container's rows go, and with them the anonymous volumes that only it referred to, unless it named them. Returns what removes
 * their files.
 */
export function deleteRows(ctx: Context, id: string): () => Promise<void> {
  const volumes = ctx.store.db.query<{ volume: string }, [string]>("SELECT volume FROM container_volumes WHERE container = ? AND unnamed = 1").all(id);
  ctx.store.db.query("DELETE FROM container_volumes WHERE container = ?").run(id);
  ctx.store.db.query("DELETE FROM containers WHERE id = ?").run(id);
  return ctx.volumes.discard(volumes.map(({ volume }) => volume));
}
