import { invalidArgument } from "../lib/errors.ts";
import { idInContainer, idOnHost, rootOnHost, type IdMap } from "../oci/id-map.ts";
import { CAPABILITY, type Owner } from "./root.ts";

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
  const there = { uid: idOnHost(map.uids, uid), gid: idOnHost(map.gids, gid) };
  if (there.uid === undefined) throw invalidArgument(`container ID ${uid} cannot be mapped to a host ID`);
  if (there.gid === undefined) throw invalidArgument(`container ID ${gid} cannot be mapped to a host ID`);
  return { uid: there.uid, gid: there.gid };
}

/** struct vfs_ns_cap_data (linux/capability.h): revision 3 names the root of the user namespace where it counts, at the end of what revision 2 has. */
const REVISION_2 = 0x02000000;
const REVISION_3 = 0x03000000;
const REVISION_MASK = 0xff000000;
const SIZE_2 = 20;
const SIZE_3 = 24;

type Xattrs = ReadonlyMap<string, Uint8Array>;

/** Capabilities that count in the container's namespace as its archives have them: revision 2. */
export function xattrsInContainer(map: IdMap | undefined, xattrs: Xattrs): Xattrs {
  const value = map === undefined ? undefined : xattrs.get(CAPABILITY);
  if (value === undefined || value.length !== SIZE_3) return xattrs;
  const data = Buffer.from(value);
  if (data.readUInt32LE(SIZE_2) !== rootOnHost(map).uid) return new Map([...xattrs].filter(([key]) => key !== CAPABILITY));
  return withRevision(xattrs, data.subarray(0, SIZE_2), REVISION_2);
}

/** As the kernel writes what the container's own root sets: revision 3. */
export function xattrsOnHost(map: IdMap | undefined, xattrs: Xattrs): Xattrs {
  const value = map === undefined ? undefined : xattrs.get(CAPABILITY);
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
