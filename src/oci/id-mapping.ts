import type { IdRange } from "./id-map.ts";

/** `Size` owners from `HostID` on, as files have them on disk, are those from `ContainerID` on to the container. */
export interface IDRange {
  HostID: number;
  ContainerID: number;
  Size: number;
}

/**
 * How a mount shows its files' owners, BindOptions.IDMapping and VolumeOptions.IDMapping of the API (names as in moby#53368; `ranges` is our own).
 * `match-user`: the owner of the mount's source is the container's user, or `User`. `userns`: the files' owners are those that the container's user
 * namespace knows. `ranges`: as given; owners that aren't named stay.
 */
export interface IDMapping {
  Source: string;
  /** As `--user` takes it. */
  User?: string;
  UIDMappings?: IDRange[];
  GIDMappings?: IDRange[];
}

/** Ids end at 2³²−2: −1 is none. */
const END = 4294967295;
/** A map of the kernel's must fit into one page, and each range may cut what lies around it twice (user_namespaces(7)). */
const MOST_RANGES = 32;

/**
 * The text form, for places that take one word (no colon or comma needed): nothing or `match-user`, a user's name or id, `match-user:USER`, `userns`,
 * or ranges `HOST-CONTAINER[-SIZE]` joined by `#`, for users and groups alike or as `uids=…;gids=…`. @throws Error
 */
export function parseIdMapping(text: string): IDMapping {
  if (text === "" || text === "match-user") return { Source: "match-user" };
  if (text === "userns") return { Source: "userns" };
  if (text.startsWith("match-user:")) return checkIdMapping({ Source: "match-user", User: text.slice("match-user:".length) });
  if (/^\d+-\d/.test(text)) {
    const ranges = parseRanges(text, text);
    return checkIdMapping({ Source: "ranges", UIDMappings: ranges, GIDMappings: ranges });
  }
  if (!/^[ug]ids=/.test(text)) return checkIdMapping({ Source: "match-user", User: text });
  const mapping: IDMapping = { Source: "ranges" };
  for (const part of text.split(";")) {
    const key = part.startsWith("uids=") ? "UIDMappings" : part.startsWith("gids=") ? "GIDMappings" : undefined;
    if (key === undefined || mapping[key] !== undefined) throw new Error(`invalid idmap ${JSON.stringify(text)}: it takes uids=RANGES;gids=RANGES`);
    mapping[key] = parseRanges(part.slice("uids=".length), text);
  }
  return checkIdMapping(mapping);
}

function parseRanges(text: string, whole: string): IDRange[] {
  return text.split("#").map((part) => {
    const [host, container, size = 1, ...rest] = part.split("-").map((digits) => (/^\d{1,10}$/.test(digits) ? Number(digits) : Number.NaN));
    if (host === undefined || container === undefined || rest.length > 0 || Number.isNaN(host + container + size)) {
      throw new Error(`invalid idmap ${JSON.stringify(whole)}: a range is HOST-CONTAINER or HOST-CONTAINER-SIZE, as in 1000-0`);
    }
    return { HostID: host, ContainerID: container, Size: size };
  });
}

/** Whatever a client sent. @throws Error that says what is wrong with it */
export function checkIdMapping(mapping: IDMapping): IDMapping {
  const { Source: source, User: user, UIDMappings: uids, GIDMappings: gids } = mapping;
  if (!["match-user", "userns", "ranges"].includes(source))
    throw new Error(`unknown IDMapping source ${JSON.stringify(source)} (match-user, userns or ranges)`);
  if (user !== undefined && source !== "match-user") throw new Error(`IDMapping ${source} takes no user`);
  if (user !== undefined && !/^[^\s,;#]+$/.test(user)) throw new Error(`invalid IDMapping user ${JSON.stringify(user)}`);
  if ((uids !== undefined || gids !== undefined) && source !== "ranges") throw new Error(`IDMapping ${source} takes no ranges`);
  if (source === "ranges" && (uids ?? []).length + (gids ?? []).length === 0) throw new Error("IDMapping ranges has none");
  for (const ranges of [uids ?? [], gids ?? []]) checkRanges(ranges);
  return mapping;
}

function checkRanges(ranges: readonly IDRange[]): void {
  if (ranges.length > MOST_RANGES) throw new Error(`IDMapping has ${ranges.length} ranges of ids, more than ${MOST_RANGES}`);
  for (const { HostID, ContainerID, Size } of ranges) {
    const bad = [HostID, ContainerID, Size].some((each) => !Number.isInteger(each)) || Size < 1 || HostID < 0 || ContainerID < 0;
    if (bad || HostID + Size > END || ContainerID + Size > END)
      throw new Error(`invalid IDMapping range ${HostID}-${ContainerID}-${Size}: ids go from 0 to ${END - 1}`);
  }
  for (const side of ["HostID", "ContainerID"] as const) {
    const sorted = ranges.toSorted((a, b) => a[side] - b[side]);
    const twice = sorted.find((range, index) => index > 0 && sorted[index - 1]![side] + sorted[index - 1]!.Size > range[side]);
    if (twice !== undefined) throw new Error(`IDMapping has id ${twice[side]} of the ${side === "HostID" ? "host" : "container"} twice`);
  }
}

/** All ids as they are. */
export const identity: readonly IdRange[] = [{ container: 0, host: 0, size: END }];

/** `base` with `entries` (`container`: on disk, `host`: shown) instead of what it has for their ids, on either side. Sorted. */
export function overrideIds(base: readonly IdRange[], entries: readonly IdRange[]): IdRange[] {
  let rest = [...base];
  for (const entry of entries) {
    rest = rest.flatMap((range) => without(range, entry.container - range.container, entry.size));
    rest = rest.flatMap((range) => without(range, entry.host - range.host, entry.size));
  }
  return [...rest, ...entries].sort((a, b) => a.container - b.container);
}

/** What is left of a range without `size` ids from `offset` on, which may lie outside of it. */
function without(range: IdRange, offset: number, size: number): IdRange[] {
  const from = Math.max(0, Math.min(range.size, offset));
  const to = Math.max(0, Math.min(range.size, offset + size));
  if (from === to) return [range];
  const after = { container: range.container + to, host: range.host + to, size: range.size - to };
  return [{ ...range, size: from }, after].filter((part) => part.size > 0);
}
