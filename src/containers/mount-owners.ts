import { stat } from "node:fs/promises";
import { invalidArgument } from "../lib/errors.ts";
import { idInContainer, idOnHost, type IdMap, type IdRange } from "../oci/id-map.ts";
import { identity, overrideIds, type IDMapping, type IDRange } from "../oci/id-mapping.ts";
import { resolveUser } from "../runtime/user.ts";
import type { ContainerRecord } from "./types.ts";

/**
 * The map of an idmapped mount (`container`: ids on disk, `host`: ids shown) that shows the owners in `source` as `mapping` wants; undefined where that
 * changes nothing. `base`: the map without `mapping`; undefined: none. `rootfs`: the container's root, which knows its users. @throws EngineError invalidArgument
 */
export async function mountIds(
  record: ContainerRecord,
  mapping: IDMapping,
  source: string,
  base: IdMap | undefined,
  rootfs: string,
): Promise<IdMap | undefined> {
  const shown = base ?? { uids: identity, gids: identity };
  const map = mapping.Source === "match-user" ? await matchUser(record, mapping, source, shown, rootfs) : given(record, mapping, shown);
  return isIdentity(map.uids) && isIdentity(map.gids) ? undefined : map;
}

const isIdentity = (ranges: readonly IdRange[]): boolean => {
  const sorted = ranges.toSorted((a, b) => a.container - b.container);
  const whole = sorted.every(
    ({ container, host }, index) => container === host && container === (index === 0 ? 0 : sorted[index - 1]!.container + sorted[index - 1]!.size),
  );
  return whole && sorted.reduce((sum, { size }) => sum + size, 0) === identity[0]!.size;
};

/** The source's owner is the container's user, and its group that user's. */
async function matchUser({ config, idMap }: ContainerRecord, { User: user }: IDMapping, source: string, base: IdMap, rootfs: string): Promise<IdMap> {
  const { uid, gid } = resolveUser(rootfs, user ?? config.User ?? "");
  const owner = await stat(source);
  return { uids: match(base.uids, owner.uid, uid, idMap?.uids), gids: match(base.gids, owner.gid, gid, idMap?.gids) };
}

/**
 * `owner` on disk is shown as the container's `id`. The two change places, so that who loses his own id is somebody all the same; except that root's files never
 * become those of an ordinary user in the container, who could leave programs there that run as root on the host.
 */
function match(base: readonly IdRange[], owner: number, id: number, own: readonly IdRange[] | undefined): IdRange[] {
  const wanted = shownAs(id, own);
  const [before, other] = [idOnHost(base, owner), idInContainer(base, wanted)];
  const entries = [{ container: owner, host: wanted, size: 1 }];
  if (id !== 0 && before !== undefined && other !== undefined && other !== owner) entries.push({ container: other, host: before, size: 1 });
  return overrideIds(base, entries);
}

function shownAs(id: number, own: readonly IdRange[] | undefined): number {
  const host = own === undefined ? id : idOnHost(own, id);
  if (host === undefined) throw invalidArgument(`cannot map the owners of a mount: the container's user namespace has no id ${id}`);
  return host;
}

function given({ id, idMap }: ContainerRecord, mapping: IDMapping, base: IdMap): IdMap {
  if (mapping.Source === "ranges") {
    return {
      uids: overrideIds(base.uids, shownRanges(mapping.UIDMappings, idMap?.uids)),
      gids: overrideIds(base.gids, shownRanges(mapping.GIDMappings, idMap?.gids)),
    };
  }
  if (idMap === undefined)
    throw invalidArgument(`idmap=userns: container ${id} has no user namespace of its own (--userns-remap, or --label berth.userns=private)`);
  return idMap;
}

/** Ids that the container knows as the host knows them. */
function shownRanges(ranges: readonly IDRange[] = [], own: readonly IdRange[] | undefined): IdRange[] {
  return ranges.flatMap(({ HostID, ContainerID, Size }) => {
    if (own === undefined) return [{ container: HostID, host: ContainerID, size: Size }];
    const pieces = own.flatMap(({ container, host, size }) => {
      const start = Math.max(container, ContainerID);
      const length = Math.min(container + size, ContainerID + Size) - start;
      return length <= 0 ? [] : [{ container: HostID + start - ContainerID, host: start - container + host, size: length }];
    });
    if (pieces.reduce((sum, { size }) => sum + size, 0) === Size) return pieces;
    throw invalidArgument(
      `cannot map the owners of a mount: the container's user namespace doesn't have all ids from ${ContainerID} to ${ContainerID + Size - 1}`,
    );
  });
}
