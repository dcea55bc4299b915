import type { Paths } from "../daemon/paths.ts";
import type { Events } from "../events/types.ts";
import type { Images } from "../images/types.ts";
import type { UserNamespaces } from "../kernel/user-namespace.ts";
import { conflict, EngineError, invalidArgument } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import type { KeyedMutex } from "../lib/mutex.ts";
import type { Forwarding } from "../logs/forward.ts";
import type { Logs } from "../logs/types.ts";
import type { Networks } from "../networks/types.ts";
import type { IdMap } from "../oci/id-map.ts";
import type { Runtimes } from "../runtime/types.ts";
import type { RunningExec, RunningSandbox, Sandboxes } from "../sandbox/types.ts";
import type { Snapshots } from "../snapshots/types.ts";
import type { Store } from "../store/store.ts";
import type { Volumes } from "../volumes/types.ts";
import { bridgeLinks } from "./links.ts";
import type { OutputHub } from "./output.ts";
import type { ContainerRecord, ContainerState, ExecRecord, NetworkSettings, StateBase, WaitResult } from "./types.ts";
import { noSuchContainer, type CreateDefaults } from "./validate.ts";

export interface ContainersDeps {
  store: Store;
  events: Events;
  images: Images;
  snapshots: Snapshots;
  networks: Networks;
  volumes: Volumes;
  logs: Logs;
  sandboxes: Sandboxes;
  /** Judges at create what only the builder of the spec can: capabilities, seccomp profiles, runtimes. */
  runtime: Pick<Runtimes, "get" | "validate" | "defaultName" | "expectProcess" | "cgroups">;
  paths: Paths;
  userNamespaces: Pick<UserNamespaces, "open">;
  log: Logger;
  options: CreateDefaults & {
    /** Seconds that a stop at the engine's end waits for each container. */
    shutdownTimeout: number;
    /** What --userns-remap gives containers that don't ask for the host's ids. */
    idMap?: IdMap;
  };
}

/** A start under way. */
export interface Starting {
  /** `rm -f` and `kill -9` end it. */
  abort: AbortController;
  /** Resolves, never rejects, when the container runs or the start has failed. */
  settled: Promise<void>;
}

/**
 * One container in memory. Its verbs need no lock: each looks at the state and writes the next one in the same synchronous step, gives the
 * event loop back only while it waits for the kernel, and compares `generation` afterwards. Thus `kill` and `rm -f` always get through.
 */
export interface Entry {
  record: ContainerRecord;
  /** Grows with each start. */
  generation: number;
  sandbox?: RunningSandbox;
  /** Another container has joined the network namespace of this run: it outlives it. */
  lendsNetwork?: boolean;
  starting?: Starting;
  /** The last run's cleaning; a new start and a removal wait for it. */
  cleaning: Promise<void>;
  /** `docker restart` is under way: `--rm` doesn't remove it at this exit. */
  restarting?: boolean;
  /** Set once a removal has begun. */
  removing?: Promise<void>;
  output: OutputHub;
  exitWaiters: Set<(result: WaitResult) => void>;
  removeWaiters: Set<(result: WaitResult) => void>;
  /** A restart by policy that waits for its delay. */
  restart?: { timer?: ReturnType<typeof setTimeout>; delay: number };
  /** Delay before the last restart by policy, 0 after a good run. */
  restartDelay: number;
  /** It has ended and is about to remove itself (`--rm`). */
  removesItself?: boolean;
  /** Bounds the log of a container that runs. */
  logKeeping?: Disposable;
  /** Sends the log elsewhere, where the driver does. */
  forwarding?: Forwarding;
  /** The generation of a run that is ended because it is unhealthy. */
  unhealthyRun?: number;
  /** Ends the health checks that go on. */
  health?: AbortController;
  /** Tells of kills for want of memory. */
  oom?: Disposable;
  execs: Set<string>;
  /** Those who read the log just now, each until it has got all. */
  logReaders: Set<Promise<void>>;
  /** Copies of files that stand on the present or the last run's root. */
  copies: Set<{ abort: AbortController; ended: Promise<void> }>;
  /** The root of a container at rest, mounted for those who read it. `dropped`: it is on its way out, and `released` resolves when it is gone. */
  view?: { path: string; abort: AbortController; users: number; ready: Promise<void>; dropped: boolean; released: Promise<void>; release: () => void };
}

/** A command to be run in a container, or that was. */
export interface ExecEntry {
  record: ExecRecord;
  env: string[];
  /** Rows and columns, where its creation names them. */
  consoleSize?: [number, number];
  running?: RunningExec;
  /** Resolves when its start has succeeded or failed; made by whoever waits first. */
  started?: PromiseWithResolvers<void>;
  /** Unix milliseconds. */
  finished?: number;
}

export interface Context extends ContainersDeps {
  /** Ready containers by full id. */
  entries: Map<string, Entry>;
  /** Names, without the slash, of ready containers and of those in the making, to full ids. */
  names: Map<string, string>;
  /** For verbs that change the record in several awaited steps: pause, rename, update. */
  mutex: KeyedMutex;
  execs: Map<string, ExecEntry>;
  /** How `--rm` containers ended that have just removed themselves, by full id, oldest first. */
  selfRemoved: Map<string, { result: WaitResult; at: number }>;
  /** Settings that hold for a record until a network or endpoint changes. */
  networkSettings: WeakMap<ContainerRecord, { revision: number; alive: boolean; settings: NetworkSettings }>;
  /** Counts since the engine's start. */
  healthChecks: { total: number; failed: number };
  /** The engine is going: `stopping` ends the containers and restarts none; `detached` leaves them, and their exits, to the next engine. */
  phase: "open" | "stopping" | "detached";
  /** Verbs that the end of a run leads to; given by createContainers, since they in turn use the file that handles ends. */
  again: { start(entry: Entry): Promise<void>; autoRemove(entry: Entry): Promise<void>; endUnhealthy(entry: Entry): Promise<void> };
}

const idPattern = /^[0-9a-f]{1,64}$/;

/** Full id, then name, then name of a link, then unique id prefix. @throws EngineError notFound, invalidArgument */
export function lookup(ctx: Context, reference: string): Entry {
  if (reference === "" || reference === "/") throw invalidArgument("No container name or ID supplied");
  const exact = ctx.entries.get(reference) ?? named(ctx, reference) ?? linkedAs(ctx, reference);
  if (exact !== undefined) return exact;
  if (!idPattern.test(reference)) throw noSuchContainer(reference);
  let found: Entry | undefined;
  for (const [id, entry] of ctx.entries) {
    if (!id.startsWith(reference)) continue;
    if (found !== undefined) throw invalidArgument(`multiple IDs found with provided prefix: ${reference}`);
    found = entry;
  }
  if (found === undefined) throw noSuchContainer(reference);
  return found;
}

function named(ctx: Context, name: string): Entry | undefined {
  return ctx.entries.get(ctx.names.get(name.replace(/^\//, "")) ?? "");
}

/** By the name that a container has within one that is linked to it on the default bridge: `web/db`. */
function linkedAs(ctx: Context, reference: string): Entry | undefined {
  const at = reference.lastIndexOf("/");
  const parent = at <= 0 ? undefined : named(ctx, reference.slice(0, at));
  if (parent === undefined) return undefined;
  const link = bridgeLinks(parent.record).find(({ alias }) => alias === reference.slice(at + 1));
  return link === undefined ? undefined : ctx.entries.get(link.reference);
}

export function tryLookup(ctx: Context, reference: string): Entry | undefined {
  try {
    return lookup(ctx, reference);
  } catch (error) {
    if (error instanceof EngineError) return undefined;
    throw error;
  }
}

/**
 * As `lookup`, for a container that another one's settings name. A missing one is a 400, as in Docker: the docker command takes a 404 at create
 * for a missing image, and would pull it. @throws EngineError invalidArgument
 */
export function lookupPartner(ctx: Context, reference: string, prefix = ""): Entry {
  try {
    return lookup(ctx, reference);
  } catch (error) {
    if (error instanceof EngineError && error.kind === "notFound") throw invalidArgument(prefix + error.message, error);
    throw error;
  }
}

/** As `lookup`, for containers whose init lives. @throws EngineError conflict `container x is not running` */
export function lookupRunning(ctx: Context, reference: string): Entry & { sandbox: RunningSandbox } {
  const entry = lookup(ctx, reference);
  requireRunning(entry);
  return entry;
}

/** @throws EngineError conflict where its init doesn't live, in Docker's words */
export function requireRunning(entry: Entry): asserts entry is Entry & { sandbox: RunningSandbox } {
  const { id, state } = entry.record;
  if (state.status === "restarting") throw conflict(isRestarting(id));
  if (entry.sandbox === undefined) throw conflict(`container ${id} is not running`);
}

export const isRestarting = (id: string): string => `Container ${id} is restarting, wait until the container is running`;

export const baseOf = (state: ContainerState): StateBase => ({
  exitCode: state.exitCode,
  startedAt: state.startedAt,
  finishedAt: state.finishedAt,
  error: state.error,
  oomKilled: state.oomKilled,
});

/** On its way out: also where a removal failed in the middle, so that it can only be tried again. */
export function isBeingRemoved({ removing, record }: Entry): boolean {
  return removing !== undefined || record.state.status === "removing";
}

/** Alive in Docker's sense (State.Running): paused and restarting ones are. */
export function isRunning({ status }: ContainerState): boolean {
  return status === "starting" || status === "running" || status === "paused" || status === "restarting";
}

/** The two halves of a row: what hardly changes, and what each start and exit change. */
export function documents(record: ContainerRecord): { fixed: string; state: string } {
  return { fixed: fixedOf(record), state: stateOf(record) };
}

function fixedOf({ state: _state, restartCount: _count, manuallyStopped: _stopped, health: _health, ...fixed }: ContainerRecord): string {
  return JSON.stringify(fixed);
}

function stateOf({ state, restartCount, manuallyStopped, health }: ContainerRecord): string {
  return JSON.stringify({ state, restartCount, manuallyStopped, health });
}

export interface EventDetail {
  action: string;
  attributes?: Record<string, string>;
}

/** Attributes of every container event: labels, image, name, then what the action adds. */
export function emitEvent(ctx: Context, record: ContainerRecord, { action, attributes = {} }: EventDetail): void {
  ctx.events.emit("container", action, record.id, {
    ...record.config.Labels,
    ...(record.config.Image ? { image: record.config.Image } : {}),
    name: record.name,
    ...attributes,
  });
}

/**
 * Docker tells of joining and leaving the networks `host` and `none` too, though there is nothing to join: no endpoint is made, so that the networks
 * themselves say nothing.
 */
export function emitPlainNetworkEvent(ctx: Context, record: ContainerRecord, action: "connect" | "disconnect"): void {
  const mode = record.host.NetworkMode;
  if (mode === "host" || mode === "none") emitNetworkEvent(ctx, record, mode, action);
}

/** A network that is gone already has nobody to tell of; what is told of has happened, and must not fail for it. */
export function emitNetworkEvent(ctx: Context, record: ContainerRecord, network: string, action: "connect" | "disconnect"): void {
  const found = ctx.networks.list().find(({ name }) => name === network);
  if (found !== undefined) ctx.events.emit("network", action, found.id, { container: record.id, name: found.name, type: found.driver });
}

/** Writes the state half of the row and the events in one transaction; memory follows at the commit. */
export function changeState(
  ctx: Context,
  entry: Entry,
  change: Partial<Pick<ContainerRecord, "state" | "restartCount" | "manuallyStopped" | "health">>,
  ...events: EventDetail[]
): void {
  const next = { ...entry.record, ...change };
  ctx.store.tx(() => {
    ctx.store.db.query("UPDATE containers SET state = ? WHERE id = ?").run(stateOf(next), next.id);
    ctx.store.afterCommit(() => {
      entry.record = next;
    });
    for (const event of events) emitEvent(ctx, next, event);
  });
}

/** Writes the fixed half: rename, update. */
export function changeRecord(ctx: Context, entry: Entry, change: Partial<ContainerRecord>, ...events: EventDetail[]): void {
  const next = { ...entry.record, ...change };
  ctx.store.tx(() => {
    ctx.store.db.query("UPDATE containers SET record = ?, name = ? WHERE id = ?").run(fixedOf(next), next.name, next.id);
    ctx.store.afterCommit(() => {
      entry.record = next;
    });
    for (const event of events) emitEvent(ctx, next, event);
  });
}

/** What the last run left, for those who wait. */
export function resultOf({ state }: ContainerRecord): WaitResult {
  return state.error === "" ? { exitCode: state.exitCode } : { exitCode: state.exitCode, error: state.error };
}

/** Tells a set of waiters, each once. */
export function settle(waiters: Set<(result: WaitResult) => void>, result: WaitResult): void {
  const all = [...waiters];
  waiters.clear();
  for (const waiter of all) waiter(result);
}
