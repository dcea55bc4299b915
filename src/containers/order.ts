import { availableParallelism } from "node:os";
import { createLimiter } from "../lib/limiter.ts";
import type { HostConfig } from "../oci/container.ts";
import { parseVolumesFrom } from "./binds.ts";
import { tryLookup, type Context, type Entry } from "./context.ts";
import { bridgeLinks } from "./links.ts";
import { partnerNamed } from "./validate.ts";

/** Containers whose namespaces are shared, as far as they are here. */
export function joinedBy(ctx: Context, { NetworkMode, PidMode, IpcMode }: HostConfig): Entry[] {
  return entriesOf(
    ctx,
    [NetworkMode, PidMode, IpcMode].flatMap((mode) => partnerNamed(mode) ?? []),
  );
}

/** Containers that this one can't be started without: whose namespaces it joins, to which it is linked. Itself too, where it names itself. */
export function partnersOf(ctx: Context, { record }: Entry): Entry[] {
  const linked = bridgeLinks(record).map(({ reference }) => reference);
  return [...joinedBy(ctx, record.host), ...entriesOf(ctx, linked)];
}

/** Those, and the ones whose volumes it has: all that goes before it where several are started, and after it where they are stopped. */
export function dependenciesOf(ctx: Context, entry: Entry): Entry[] {
  const lenders = (entry.record.host.VolumesFrom ?? []).map((from) => parseVolumesFrom(from).container);
  return [...new Set([...partnersOf(ctx, entry), ...entriesOf(ctx, lenders)])];
}

function entriesOf(ctx: Context, references: readonly string[]): Entry[] {
  return references.flatMap((reference) => tryLookup(ctx, reference) ?? []);
}

/** Which of `entries` depend on one of them. */
export function dependentsAmong(ctx: Context, entries: readonly Entry[]): (entry: Entry) => Entry[] {
  const dependents = new Map<Entry, Entry[]>();
  for (const entry of entries) for (const dependency of dependenciesOf(ctx, entry)) dependents.set(dependency, [...(dependents.get(dependency) ?? []), entry]);
  return (entry) => dependents.get(entry) ?? [];
}

/** Containers that work is done on at a time: enough to keep all cores busy with starting processes. */
export const concurrentStarts = Math.max(4, 2 * availableParallelism());

/**
 * Does `work`, which never rejects, on all, each after those of them that go `before` it, at most `concurrency` at a time. Where some go round in a circle one of
 * its links is passed over, and each of them is given the circle.
 */
export async function inOrder(
  entries: readonly Entry[],
  before: (entry: Entry) => readonly Entry[],
  concurrency: number,
  work: (entry: Entry, circle: readonly Entry[] | undefined) => Promise<void>,
): Promise<void> {
  const all = new Set(entries);
  const done = new Map<Entry, Promise<void>>();
  const circles = new Map<Entry, readonly Entry[]>();
  const path: Entry[] = [];
  const limiter = createLimiter(() => concurrency);
  const turn = async (entry: Entry): Promise<void> => {
    using _place = await limiter.enter();
    await work(entry, circles.get(entry));
  };
  const visit = (entry: Entry): Promise<void> | undefined => {
    const at = path.indexOf(entry);
    if (at >= 0) {
      const circle = path.slice(at);
      for (const member of circle) circles.set(member, circle);
      return undefined;
    }
    let promise = done.get(entry);
    if (promise !== undefined) return promise;
    path.push(entry);
    const earlier = before(entry)
      .filter((each) => all.has(each))
      .map(visit);
    path.pop();
    promise = Promise.all(earlier).then(() => turn(entry));
    done.set(entry, promise);
    return promise;
  };
  await Promise.all(entries.map(visit));
}
