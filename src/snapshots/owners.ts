import { invalidArgument } from "../lib/errors.ts";
import { idInContainer, idOnHost, rootOnHost, type IdMap, type IdRange } from "../oci/id-map.ts";
import { CAPABILITY, isAcl, type Owner } from "./root.ts";

/** Owners and file capabilities of a container's tree, between what the host sees and what the container does. Without a map both are the same. */

/** What the kernel shows in place of an id that a namespace doesn't have: /proc/sys/kernel/overflowuid. */
const OVERFLOW_ID = 65534;

export function ownerInContainer(map: IdMap | undefined, { uid, gid }: Owner): Owner {
  if (map === undefined) return { uid, gid };
  return { uid: idInContainer(map.uids, uid) ?? OVERFLOW_ID, gid: idInContainer(map.gids, gid) ?? OVERFLOW_ID };
}

/** @throws EngineError invalidArgument in Docker's words where the container can't have such an id */
export function ownerOnHost(map: IdMap | undefined, { uid, gid }: Owner): Owner {
  if (map === undefined) return { uid, gid };
  return { uid: hostId(map.uids, uid), gid: hostId(map.gids, gid) };
}

function hostId(ranges: readonly IdRange[], id: number): number {
  const there = idOnHost(ranges, id);
  if (there === undefined) throw invalidArgument(`container ID ${id} cannot be mapped to a host ID`);
  return there;
}

/** struct vfs_ns_cap_data (linux/capability.h): revision 3 names the root of the user namespace where it counts, at the end of what revision 2 has. */
const REVISION_2 = 0x02000000;
const REVISION_3 = 0x03000000;
const REVISION_MASK = 0xff000000;
const SIZE_2 = 20;
const SIZE_3 = 24;

type Xattrs = ReadonlyMap<string, Uint8Array>;

/** struct posix_acl_xattr_header and _entry (linux/posix_acl_xattr.h): entries of 8 bytes after a version of 4; tag, permissions, id. */
const ACL_USER = 2;
const ACL_GROUP = 8;

/** Access control lists with other ids: the calls that read and set them know nothing of a container's. */
function withAcls(xattrs: Xattrs, change: (kind: "uids" | "gids", id: number) => number): Xattrs {
  if (![...xattrs.keys()].some(isAcl)) return xattrs;
  const result = new Map(xattrs);
  for (const [key, value] of xattrs) {
    if (!isAcl(key)) continue;
    const data = Buffer.from(value);
    for (let at = 4; at + 8 <= data.length; at += 8) {
      const tag = data.readUInt16LE(at);
      if (tag === ACL_USER || tag === ACL_GROUP) data.writeUInt32LE(change(tag === ACL_USER ? "uids" : "gids", data.readUInt32LE(at + 4)), at + 4);
    }
    result.set(key, data);
  }
  return result;
}

/** Capabilities that count in the container's namespace as its archives have them: revision 2. */
export function xattrsInContainer(map: IdMap | undefined, all: Xattrs): Xattrs {
  if (map === undefined) return all;
  const xattrs = withAcls(all, (kind, id) => idInContainer(map[kind], id) ?? OVERFLOW_ID);
  const value = xattrs.get(CAPABILITY);
  if (value === undefined || value.length !== SIZE_3) return xattrs;
  const data = Buffer.from(value);
  if (data.readUInt32LE(SIZE_2) !== rootOnHost(map).uid) return new Map([...xattrs].filter(([key]) => key !== CAPABILITY));
  return withRevision(xattrs, data.subarray(0, SIZE_2), REVISION_2);
}

/** As the kernel writes what the container's own root sets: revision 3. */
export function xattrsOnHost(map: IdMap | undefined, all: Xattrs): Xattrs {
  if (map === undefined) return all;
  const xattrs = withAcls(all, (kind, id) => hostId(map[kind], id));
  const value = xattrs.get(CAPABILITY);
  if (value === undefined || value.length !== SIZE_2) return xattrs;
  const data = Buffer.alloc(SIZE_3);
  data.set(value);
  data.writeUInt32LE(rootOnHost(map).uid, SIZE_2);
  return withRevision(xattrs, data, REVISION_3);
}

function withRevision(xattrs: Xattrs, data: Buffer, revision: number): Xattrs {
  data.writeUInt32LE(((data.readUInt32LE(0) & ~REVISION_MASK) | revision) >>> 0, 0);
  return new Map([...xattrs, [CAPABILITY, data]]);
}
