/** `size` ids from `container` on, as a container has them, are those from `host` on to the rest of the host. */
export interface IdRange {
  container: number;
  host: number;
  size: number;
}

/** A user namespace's ids. Where a container has none, its ids are the host's. */
export interface IdMap {
  uids: readonly IdRange[];
  gids: readonly IdRange[];
}

/** The id that the host knows a container's `id` by; undefined where the container can't have it. */
export function idOnHost(ranges: readonly IdRange[], id: number): number | undefined {
  const range = ranges.find(({ container, size }) => id >= container && id < container + size);
  return range === undefined ? undefined : id - range.container + range.host;
}

/** The id that a container knows the host's `id` by; undefined where it has none for it. */
export function idInContainer(ranges: readonly IdRange[], id: number): number | undefined {
  const range = ranges.find(({ host, size }) => id >= host && id < host + size);
  return range === undefined ? undefined : id - range.host + range.container;
}

/** Who the container's root is on the host. Every map has one: a container starts as root. */
export function rootOnHost(map: IdMap | undefined): { uid: number; gid: number } {
  return map === undefined ? { uid: 0, gid: 0 } : { uid: idOnHost(map.uids, 0) ?? 0, gid: idOnHost(map.gids, 0) ?? 0 };
}

export function sameIdMap(a: IdMap | undefined, b: IdMap | undefined): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

/**
 * For an idmapped mount of files whose owners are stored as `stored` has them, to be used by containers with `used` (undefined: the host's own ids):
 * `container` of the result is the id on disk, `host` the one the mount shows. Undefined where nothing needs to be translated.
 */
export function translation(stored: IdMap | undefined, used: IdMap | undefined): IdMap | undefined {
  if (sameIdMap(stored, used)) return undefined;
  if (stored === undefined) return used;
  const of = (from: readonly IdRange[], to: readonly IdRange[] | undefined): IdRange[] =>
    from.flatMap((a) => (to === undefined ? [{ container: a.host, host: a.container, size: a.size }] : to.flatMap((b) => overlap(a, b))));
  return { uids: of(stored.uids, used?.uids), gids: of(stored.gids, used?.gids) };
}

/** The container's ids that both ranges have: from `a`'s host ids to `b`'s. */
function overlap(a: IdRange, b: IdRange): IdRange[] {
  const start = Math.max(a.container, b.container);
  const size = Math.min(a.container + a.size, b.container + b.size) - start;
  return size <= 0 ? [] : [{ container: start - a.container + a.host, host: start - b.container + b.host, size }];
}
