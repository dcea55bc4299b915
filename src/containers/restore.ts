import { readdir, rmdir } from "node:fs/promises";
import { realtimeNano } from "../kernel/clock.ts";
import { conflict, messageOf } from "../lib/errors.ts";
import { parseRfc3339 } from "../lib/time.ts";
import type { ExitStatus } from "../sandbox/types.ts";
import { nextRestart } from "./backoff.ts";
import { putLimits } from "../runtime/limits.ts";
import { parseRecord } from "../store/damage.ts";
import { undoConnections } from "./connect.ts";
import { baseOf, changeState, type Context, type Entry } from "./context.ts";
import { newEntry, removeIntent } from "./create.ts";
import { recordExit } from "./exit.ts";
import { keepLog } from "./logs.ts";
import { startForwarding } from "./log-forwarding.ts";
import { concurrentStarts, dependenciesOf, inOrder } from "./order.ts";
import { autoRemove } from "./remove.ts";
import { cancelRestart, startByPolicy } from "./restarts.ts";
import { subpathPrefix } from "./mounts.ts";
import { setRunning } from "./start.ts";
import { specBase } from "./spec.ts";
import type { ContainerRecord } from "./types.ts";

interface Row {
  id: string;
  phase: string;
  record: string;
  state: string;
}

/** What adoptAll leaves for resume. */
export interface Restored {
  exited: { entry: Entry; status: ExitStatus }[];
  /** Rows of creates and removals that a crash cut short. */
  halfway: ContainerRecord[];
}

/** Adoptions at a time: each reads a few files of /proc and connects to a monitor. */
const concurrency = 16;

/** Loads all records; asks the kernel about those that may run. No file of a container at rest is touched. */
export async function adoptAll(ctx: Context): Promise<{ running: Set<string>; restored: Restored }> {
  const restored: Restored = { exited: [], halfway: [] };
  const candidates: Entry[] = [];
  for (const { row, record } of loadRows(ctx)) {
    if (row.phase !== "ready") {
      restored.halfway.push(record);
      continue;
    }
    const entry = newEntry(record);
    ctx.entries.set(record.id, entry);
    ctx.names.set(record.name, record.id);
    if (["starting", "running", "paused"].includes(record.state.status)) candidates.push(entry);
  }
  refuseElsewhere(ctx, candidates);
  // Their names are free at once; their files go in resume.
  ctx.store.db.run("UPDATE containers SET name = NULL WHERE phase <> 'ready'");
  const running = new Set<string>();
  const work = candidates.values();
  const worker = async (): Promise<void> => {
    for (const entry of work) if (await adopt(ctx, entry, restored)) running.add(entry.record.id);
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  return { running, restored };
}

/**
 * What runs in another mount namespace can be neither taken over whole nor ended in good conscience: it goes on, and the engine doesn't start.
 * @throws EngineError conflict
 */
function refuseElsewhere(ctx: Context, candidates: readonly Entry[]): void {
  const found = ctx.sandboxes.runningElsewhere(candidates.map(({ record }) => record));
  if (found === undefined) return;
  throw conflict(
    `the engine can't take over what runs, such as container ${found.id.slice(0, 12)}: an engine in another mount namespace has started it, and its files are mounted ` +
      `there. Start the engine in that one (nsenter --mount=/proc/${found.monitor}/ns/mnt berthd …), or end the containers first. A service whose unit has PrivateTmp=, ` +
      "ProtectSystem=, PrivateMounts= or the like gets another namespace with each start",
  );
}

/** All rows, oldest first: the order of the entries in memory is that of `docker ps`. */
function loadRows(ctx: Context): { row: Row; record: ContainerRecord }[] {
  const rows = ctx.store.db.query<Row, []>("SELECT id, phase, record, state FROM containers").all();
  return rows
    .flatMap((row) => {
      const [fixed, state] = [row.record, row.state].map((text) => parseRecord<Partial<ContainerRecord>>(text, `container ${row.id}`, ctx.log));
      if (fixed !== undefined && state !== undefined) return { row, record: { ...fixed, ...state } as ContainerRecord };
      // its files stay, for whoever can mend the row; its name is free
      ctx.store.db.query("UPDATE containers SET name = NULL WHERE id = ?").run(row.id);
      return [];
    })
    .map((loaded) => ({ ...loaded, created: parseRfc3339(loaded.record.created) ?? 0n }))
    .sort((a, b) => (a.created < b.created ? -1 : a.created > b.created ? 1 : 0));
}

/** True where the container runs. One that can't be asked counts as ended: its error says why. */
async function adopt(ctx: Context, entry: Entry, restored: Restored): Promise<boolean> {
  const { record } = entry;
  const { state } = record;
  try {
    // 0 for a start that the record doesn't know the end of.
    const startedAt = state.status === "starting" ? 0n : BigInt(state.startedAt);
    const found = await ctx.sandboxes.adopt(specBase(ctx, record), startedAt);
    if ("running" in found) {
      for (const { type, source } of record.mountSources) if (type === "volume") ctx.volumes.adopt(source, record.id);
      entry.output.connect(found.running.io);
      // An update of them that the engine before didn't live to write down.
      if (record.limitsBefore?.generation === entry.generation) await putLimits(record.limitsBefore.values);
      const paused = state.status === "paused" && state.forCommit !== true;
      // Frozen for a commit, or by a pause that the engine before didn't live to write down.
      if (!paused)
        await found.running.resume().catch((error: unknown) => ctx.log.warn("thawing a container", { container: record.id, error: messageOf(error) }));
      setRunning(ctx, entry, found.running, entry.generation, { adopted: true, paused });
      return true;
    }
    if ("exited" in found) {
      // It ran, but nobody wrote down when it began: no earlier than its end is certain.
      if (state.status === "starting") changeState(ctx, entry, { state: { ...state, startedAt: String(found.exited.finishedAt) } });
      restored.exited.push({ entry, status: found.exited });
    } else {
      atRest(ctx, entry);
    }
  } catch (error) {
    ctx.log.error("adopting a container", { container: record.id, error: messageOf(error) });
    const text = `the engine could not take the container over after its restart: ${messageOf(error)}`;
    restored.exited.push({ entry, status: { exitCode: 255, oomKilled: false, finishedAt: realtimeNano(), error: text } });
  }
  return false;
}

/** A start that the crash cut short before its program began: as if it had never been asked for. */
function atRest(ctx: Context, entry: Entry): void {
  const base = baseOf(entry.record.state);
  changeState(ctx, entry, { state: base.startedAt === "0" ? { ...base, status: "created" } : { ...base, status: "exited", generation: entry.generation } });
}

/** Exits that happened meanwhile, half-made and half-removed containers, restart policies, `--rm`. */
export async function resume(ctx: Context, restored: Restored): Promise<void> {
  const exitedNow = new Set(restored.exited.map(({ entry }) => entry));
  // Before any of them is removed.
  for (const entry of ctx.entries.values()) if (entry.sandbox === undefined) startForwarding(ctx, entry, Promise.resolve());
  // What the engine before rotated is compressed by this one.
  for (const { entry } of restored.exited) keepLog(ctx, entry.record)?.[Symbol.dispose]();
  for (const { entry, status } of restored.exited) recordExit(ctx, entry, status);
  await removeViews(ctx);
  for (const record of restored.halfway) {
    try {
      await removeIntent(ctx, record);
    } catch (error) {
      ctx.log.error("removing what is left of a container", { container: record.id, error: messageOf(error) });
    }
  }
  for (const entry of ctx.entries.values()) {
    if (entry.sandbox === undefined) continue;
    await undoConnections(ctx, entry).catch((error: unknown) =>
      ctx.log.error("undoing a connection to a network", { container: entry.record.id, error: messageOf(error) }),
    );
  }
  const starting: Entry[] = [];
  for (const entry of ctx.entries.values()) {
    const { state, host } = entry.record;
    if (state.status === "removing") continue;
    const isAtRest = (state.status === "created" || state.status === "exited") && !exitedNow.has(entry);
    if (isAtRest && host.AutoRemove === true) await autoRemove(ctx, entry);
    else if (isAtRest ? wantsStart(entry.record) : state.status === "restarting") starting.push(entry);
  }
  void startAll(ctx, starting);
}

/** Policies of containers that were at rest already when the engine before went. */
function wantsStart({ host, state, manuallyStopped, restartCount }: ContainerRecord): boolean {
  if (state.startedAt === "0") return false;
  const policy = host.RestartPolicy;
  // `always` brings back even what a user had stopped: that is its difference from `unless-stopped`.
  if (policy?.Name === "always") return true;
  return !manuallyStopped && nextRestart(policy, { exitCode: state.exitCode, seconds: 0, restartCount, lastDelay: 0 }) !== undefined;
}

/** What policies bring back, in the order of what depends on what, while clients are answered already. Until its turn each is `restarting`, and may be stopped. */
async function startAll(ctx: Context, entries: readonly Entry[]): Promise<void> {
  for (const entry of entries) {
    const { state, restartCount } = entry.record;
    const wasAtRest = state.status !== "restarting";
    clearTimeout(entry.restart?.timer);
    entry.restart = { delay: 0 };
    changeState(ctx, entry, {
      state: { ...baseOf(state), status: "restarting", generation: entry.generation },
      restartCount: wasAtRest ? 0 : restartCount,
      manuallyStopped: false,
    });
  }
  await inOrder(
    entries,
    (entry) => dependenciesOf(ctx, entry),
    concurrentStarts,
    async (entry, circle) => {
      if (circle === undefined || ctx.phase !== "open") return await startByPolicy(ctx, entry);
      const error = `container ${entry.record.name} can't be started: ${nameCircle(circle, entry)}`;
      if (cancelRestart(ctx, entry, { byEngine: true, error })) ctx.log.error("restarting a container by its policy", { container: entry.record.id, error });
    },
  );
}

function nameCircle(circle: readonly Entry[], entry: Entry): string {
  const at = circle.indexOf(entry);
  const names = [...circle.slice(at), ...circle.slice(0, at), entry].map(({ record }) => record.name);
  return `it waits for itself (${names.join(" → ")}: each needs the next one running)`;
}

/** Mounts that were there for a moment only when the engine died: roots for readers, directories of volumes for a start. */
async function removeViews(ctx: Context): Promise<void> {
  const names = await readdir(ctx.paths.tmp).catch(() => [] as string[]);
  for (const name of names.filter((entry) => entry.startsWith("view-") || entry.startsWith(subpathPrefix))) {
    const path = `${ctx.paths.tmp}/${name}`;
    await ctx.snapshots.unmount(path, { lazy: true });
    await rmdir(path).catch((error: unknown) => ctx.log.warn("removing a stale mount point", { path, error: messageOf(error) }));
  }
}
