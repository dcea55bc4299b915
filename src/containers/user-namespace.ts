import { readlinkSync } from "node:fs";
import { conflict, invalidArgument, unavailable } from "../lib/errors.ts";
import { readSubordinateIds, type SubordinateRange } from "../lib/subordinate-ids.ts";
import type { ContainerConfig, HostConfig } from "../oci/container.ts";
import { sameIdMap, type IdMap } from "../oci/id-map.ts";
import type { Context } from "./context.ts";
import { joinedBy } from "./order.ts";
import type { ContainerRecord } from "./types.ts";

/**
 * Whose user namespace a container has. UsernsMode empty: the engine's map (--userns-remap), or that of the container whose other namespaces it
 * shares; `host`: none; `private`: ids that nobody else on the host has. The map is chosen at create and kept for life, whatever the engine's settings become.
 */

/** For clients whose own check knows no mode but `host`, as Docker's command line. */
const USERNS_LABEL = "berth.userns";

/** Ids of one private namespace: what most images use. */
const SIZE = 65_536;
/** The user whose subordinate ids private namespaces come from, where /etc/subuid and /etc/subgid know it. */
const POOL_OWNER = "berth";
/** What systemd sets aside for containers that choose their ids themselves (systemd.io/UIDS-GIDS). */
const systemdPool = { start: 524_288, size: 1_878_982_656 - 524_288 };

/** Which ids is all the same to the kernel. */
export const anyIdMap: IdMap = { uids: [{ container: 0, host: systemdPool.start, size: SIZE }], gids: [{ container: 0, host: systemdPool.start, size: SIZE }] };

type Mode = "" | "host" | "private";

/** `config` as the client sent it: an image's labels have no say. @throws EngineError invalidArgument */
export function usernsModeOf(config: ContainerConfig, host: HostConfig): Mode {
  const label = config.Labels?.[USERNS_LABEL] ?? "";
  const mode = host.UsernsMode || label;
  if (mode !== "" && mode !== "host" && mode !== "private") throw invalidArgument(`invalid user namespace mode: ${mode}`);
  if (label !== "" && label !== mode) throw invalidArgument(`conflicting options: label ${USERNS_LABEL}=${label} and user namespace mode ${mode}`);
  return mode;
}

/** The map of a container to be made. @throws EngineError invalidArgument where its settings don't go together, in Docker's words */
export function chooseIdMap(ctx: Context, config: ContainerConfig, host: HostConfig): IdMap | undefined {
  const mode = usernsModeOf(config, host);
  if (mode === "host") return undefined;
  const partners = joinedBy(ctx, host);
  if (mode === "private" && partners.length > 0) {
    throw invalidArgument("conflicting options: a private user namespace and another container's namespaces, which belong to its own");
  }
  const inherited = partners.find(({ record }) => record.idMap !== undefined)?.record.idMap;
  if (mode === "" && ctx.options.idMap === undefined && inherited === undefined) return undefined;
  checkSettings(host);
  return mode === "private" ? freeIds(ctx) : (inherited ?? ctx.options.idMap);
}

/** What a user namespace's root has no right to. Texts are Docker's. */
function checkSettings(host: HostConfig): void {
  if (host.Privileged === true) {
    throw invalidArgument(
      "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
    );
  }
  if (host.NetworkMode === "host") throw invalidArgument("cannot share the host's network namespace when user namespaces are enabled");
  if (host.PidMode === "host") throw invalidArgument("cannot share the host PID namespace when user namespaces are enabled");
}

/**
 * The process whose user namespace is joined with the others: a namespace's owner is the user namespace it was made in, and only there its rights count.
 * Undefined where the container makes its own, or has none. @throws EngineError conflict where the partners' aren't one and the same
 */
export function joinedUserNamespace(ctx: Context, record: ContainerRecord): number | undefined {
  if (record.idMap === undefined) return undefined;
  const partners = joinedBy(ctx, record.host).flatMap(({ record: partner, sandbox }) => (sandbox === undefined ? [] : [{ partner, pid: sandbox.pid }]));
  for (const { partner } of partners) {
    if (sameIdMap(partner.idMap, record.idMap)) continue;
    const how = partner.idMap === undefined ? "the host's user namespace (start this one with --userns=host)" : "a user namespace with other ids";
    throw conflict(`cannot join a namespace of container ${partner.id}: it has ${how}`);
  }
  const namespaces = new Set(partners.map(({ pid }) => readlinkSync(`/proc/${pid}/ns/user`)));
  if (namespaces.size > 1) throw conflict("cannot join namespaces of several containers that have user namespaces of their own");
  return partners[0]?.pid;
}

/** Ids that no other container, no account's subordinate range and no user of the host has. Rows are asked, so that creates under way count too. */
function freeIds(ctx: Context): IdMap {
  const [uids, gids] = [readSubordinateIds("/etc/subuid"), readSubordinateIds("/etc/subgid")];
  const rows = ctx.store.db
    .query<{ map: string }, []>("SELECT json_extract(record, '$.idMap') AS map FROM containers WHERE json_extract(record, '$.idMap') IS NOT NULL")
    .all();
  const used = [...rows.map(({ map }) => JSON.parse(map) as IdMap), ...(ctx.options.idMap === undefined ? [] : [ctx.options.idMap])];
  const start = findFree({
    pool: poolOf(uids, gids),
    taken: used.flatMap(({ uids: a, gids: b }) => [...a, ...b].map(({ host, size }) => ({ start: host, size }))),
    // engines side by side, and other managers that choose by chance, seldom meet
    from: Math.random(),
  });
  const range = [{ container: 0, host: start, size: SIZE }];
  return { uids: range, gids: range };
}

interface Span {
  start: number;
  size: number;
}

/** The pool's spans, and within them what belongs to others. */
export function poolOf(uids: readonly SubordinateRange[], gids: readonly SubordinateRange[]): { spans: Span[]; foreign: Span[] } {
  const own = (ranges: readonly SubordinateRange[]): SubordinateRange[] => ranges.filter(({ owner }) => owner === POOL_OWNER);
  const both = own(uids).flatMap((a) => own(gids).flatMap((b) => intersection(a, b)));
  if (own(uids).length > 0 || own(gids).length > 0) return { spans: both, foreign: [] };
  return { spans: [systemdPool], foreign: [...uids, ...gids] };
}

function intersection(a: Span, b: Span): Span[] {
  const start = Math.max(a.start, b.start);
  const size = Math.min(a.start + a.size, b.start + b.size) - start;
  return size > 0 ? [{ start, size }] : [];
}

/** First of 65,536 ids in a row, looked for from a place in the pool given by `from` (0 to 1) on. @throws EngineError unavailable */
export function findFree({ pool, taken, from }: { pool: { spans: readonly Span[]; foreign: readonly Span[] }; taken: readonly Span[]; from: number }): number {
  const busy = [...pool.foreign, ...taken];
  const slots = pool.spans.map(({ start, size }) => ({ start, count: Math.floor(size / SIZE) }));
  const total = slots.reduce((sum, { count }) => sum + count, 0);
  const first = Math.floor(from * total);
  for (let i = 0; i < total; i++) {
    let index = (first + i) % total;
    const slot = slots.find(({ count }) => (index < count ? true : ((index -= count), false)))!;
    const candidate = slot.start + index * SIZE;
    if (!busy.some(({ start, size }) => start < candidate + SIZE && candidate < start + size)) return candidate;
  }
  throw unavailable(`no ${SIZE} ids are free for a private user namespace: give user ${POOL_OWNER} more in /etc/subuid and /etc/subgid`);
}
