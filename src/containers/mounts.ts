import { mkdirSync, rmdirSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { attachTree, cloneTree } from "../kernel/bind.ts";
import { SysError } from "../kernel/ffi.ts";
import { AT_FDCWD, closeFd, mountWords, O, openAt } from "../kernel/fs.ts";
import { holdBeneath, holdInRoot } from "../kernel/inroot.ts";
import { MS, mount as bindMount, unmount } from "../kernel/mount.ts";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import { bytesOf } from "../lib/tar.ts";
import { unlessAborted } from "../lib/unless-aborted.ts";
import { rootOnHost, translation, type IdMap } from "../oci/id-map.ts";
import { isMounted } from "../volumes/options.ts";
import type { VolumeRecord } from "../volumes/types.ts";
import { fileSystemAt, isShared } from "../runtime/mounts.ts";
import type { SandboxMount } from "../sandbox/types.ts";
import { makeBindSource } from "./bind-source.ts";
import type { Context, Entry } from "./context.ts";
import { mountIds } from "./mount-owners.ts";
import type { ContainerMount, ContainerRecord } from "./types.ts";

/** The mounts of one run, parents before what is mounted inside them. `held` keeps directories in place until the container has them. */
export async function sandboxMounts(ctx: Context, record: ContainerRecord, held: DisposableStack, signal?: AbortSignal): Promise<SandboxMount[]> {
  const mounts: SandboxMount[] = [];
  for (const mount of record.mountSources) mounts.push(await sandboxMount(ctx, record, mount, held, signal));
  return mounts.sort((a, b) => depth(a.destination) - depth(b.destination));
}

const depth = (path: string): number => path.split("/").length;

async function sandboxMount(
  ctx: Context,
  record: ContainerRecord,
  mount: ContainerMount,
  held: DisposableStack,
  signal: AbortSignal | undefined,
): Promise<SandboxMount> {
  const { type, destination, readOnly } = mount;
  if (type === "tmpfs") return { type, source: "", destination, readOnly, options: mount.options };
  if (type === "bind") {
    await checkSource(mount, rootOnHost(record.idMap));
    const how = await optionsOf(ctx, record, mount, mount.source);
    return { type, source: withOwners(ctx, record, mount, mount.source, undefined, held), destination, ...how };
  }
  // a server or a plugin may take its time to mount a volume: the container can go all the same, and the volume comes back with `releaseVolumes`
  let source =
    type === "image"
      ? await mountImage(ctx, record, mount, held)
      : await unlessAborted(ctx.volumes.mount(mount.source, record.id, { destination, readOnly }), signal, "the start was cancelled");
  if (mount.subpath !== undefined) {
    try {
      source = holdSubpath(ctx, record, source, { ...mount, subpath: mount.subpath }, held);
    } catch (error) {
      throw subpathError(source, { ...mount, subpath: mount.subpath }, error);
    }
  }
  const ids = type === "image" ? undefined : idsOf(ctx.volumes.get(mount.source), record);
  const how = await optionsOf(ctx, record, mount, source);
  if (mount.owners !== undefined) return { type: "bind", source: withOwners(ctx, record, mount, source, ids, held), destination, ...how };
  if (ids !== undefined) source = await holdMapped(ctx, record, source, ids, held);
  return { type: "bind", source, destination, ...how };
}

/** The source itself, or what shows it with the owners that were asked for. `base`: the map that it has in any case. */
function withOwners(
  ctx: Context,
  record: ContainerRecord,
  mount: ContainerMount,
  source: string,
  base: IdMap | undefined,
  held: DisposableStack,
): SandboxMount["source"] {
  const { owners } = mount;
  if (owners === undefined) return source;
  return async (rootfs) => {
    const ids = await mountIds(record, owners, source, base, rootfs);
    return ids === undefined ? source : await holdMapped(ctx, record, source, ids, held, { recursive: mount.options.includes("rbind") });
  };
}

async function optionsOf(ctx: Context, record: ContainerRecord, mount: ContainerMount, source: string): Promise<{ readOnly: boolean; options: string[] }> {
  const isPrivate = mount.slaveIfShared === true && !isShared(source);
  // crun mounts each bind a second time, with the flags that it is told alone: those of the source (ro, nosuid, …) would be gone
  const words = mountWords(source);
  const asked = isPrivate ? mount.options.map((option) => (option === "rslave" ? "rprivate" : option)) : mount.options;
  const readOnly = mount.readOnly || words.includes("ro");
  const options = [...asked, ...words.filter((word) => word !== "ro")];
  if (!mount.readOnly || !(await isReadOnlyBelow(ctx, record, mount))) return { readOnly, options };
  // nothing is mounted below a file, and crun 1.8 takes the word for directories only
  return { readOnly, options: (await stat(source)).isDirectory() ? [...options, "rro"] : options };
}

/** What a volume's options or a plugin mount has owners of its own, as what `-v /path` mounts has: a container that can't have them doesn't get them either. */
function idsOf({ driver, options, idMap }: VolumeRecord, record: ContainerRecord): IdMap | undefined {
  if (driver !== "local") return undefined;
  return isMounted(options) ? undefined : translation(idMap, record.idMap);
}

/** @throws EngineError invalidArgument where it must be and can't */
async function isReadOnlyBelow(ctx: Context, record: ContainerRecord, { source, readOnlyBelow }: ContainerMount): Promise<boolean> {
  if (readOnlyBelow === "never") return false;
  const runtime = ctx.runtime.get(record.host.Runtime);
  const canBe = await runtime.mountsReadOnlyBelow();
  if (!canBe && readOnlyBelow === "always") {
    throw invalidArgument(`cannot make ${source} recursively read-only: it takes Linux 5.12 and a runtime that knows "rro", which ${runtime.name} doesn't`);
  }
  return canBe;
}

/** The image's files, mounted for the moment of a start: the container keeps its own copy of the mount. */
async function mountImage(ctx: Context, record: ContainerRecord, mount: ContainerMount, held: DisposableStack): Promise<string> {
  const { idMap } = record;
  const target = mountPlace(ctx, record, true, held);
  await ctx.snapshots.mount({ target, layers: mount.layers ?? [], ...(idMap !== undefined && { idMap }) });
  held.defer(() => void unmount(target, { lazy: true }));
  return target;
}

/** Images, volumes with other owners, and what lies within them, mounted for the moment of a start. */
export const subpathPrefix = "subpath-";

/** An empty directory or file to mount on. */
function mountPlace(ctx: Context, record: ContainerRecord, isDirectory: boolean, held: DisposableStack): string {
  const target = `${ctx.paths.tmp}/${subpathPrefix}${record.id}-${crypto.randomUUID()}`;
  if (isDirectory) {
    mkdirSync(target, { mode: 0o700 });
    held.defer(() => rmdirSync(target));
  } else {
    writeFileSync(target, "", { mode: 0o600 });
    held.defer(() => unlinkSync(target));
  }
  return target;
}

/**
 * The directory or file itself, whatever a container that runs with the volume does to its path meanwhile: found without leaving the volume, held by a
 * descriptor, and bound on a path of ours, since the runtime's mount namespace takes no descriptor of another one (EINVAL).
 */
function holdSubpath(ctx: Context, record: ContainerRecord, volume: string, { type, subpath }: WithSubpath, held: DisposableStack): string {
  // an image's links are of a root of its own; a volume has none
  using found = type === "image" ? holdInRoot(volume, subpath) : holdBeneath(volume, subpath);
  const target = mountPlace(ctx, record, statSync(found.path).isDirectory(), held);
  bindMount(found.path, target, "none", MS.BIND);
  held.defer(() => void unmount(target, { lazy: true }));
  return target;
}

type WithSubpath = ContainerMount & { subpath: string };

/** In Docker's words for volumes (moby, daemon/volume/safepath/errors.go). */
function subpathError(volume: string, { type, source, subpath, destination }: WithSubpath, error: unknown): Error {
  const { code } = error as { code?: string };
  const path = `${volume}/${subpath}`;
  if (type === "volume" && code === "ENOENT") return invalidArgument(`cannot access path ${path}: lstat ${path}: no such file or directory`, error);
  if (type === "volume" && code === "EXDEV")
    return invalidArgument(`path concatenation escapes the base directory, base: ${volume}, subpath: ${subpath}`, error);
  return invalidArgument(`cannot mount ${subpath} of ${type} ${source} on ${destination}: ${messageOf(error)}`, error);
}

/** The same files with other owners, as an idmapped mount. */
async function holdMapped(
  ctx: Context,
  record: ContainerRecord,
  source: string,
  ids: IdMap,
  held: DisposableStack,
  { recursive = true }: { recursive?: boolean } = {},
): Promise<string> {
  using namespace = await ctx.userNamespaces.open(ids);
  const target = mountPlace(ctx, record, statSync(source).isDirectory(), held);
  using open = new DisposableStack();
  try {
    const tree = open.adopt(cloneTree(source, { recursive, userNamespace: namespace.fd }), closeFd);
    attachTree(tree, open.adopt(openAt(AT_FDCWD, bytesOf(target), O.PATH), closeFd));
  } catch (error) {
    throw invalidArgument(`cannot map the owners in ${source} for container ${record.id}: ${whyNotMapped(source, recursive, namespace.fd, error)}`, error);
  }
  held.defer(() => void unmount(target, { lazy: true }));
  return target;
}

/** The kernel says EINVAL for a file system that can't (mount_setattr(2)), EPERM for a mount that has other owners already. */
function whyNotMapped(source: string, recursive: boolean, userNamespace: number, error: unknown): string {
  if (!(error instanceof SysError) || error.syscall !== "mount_setattr") return messageOf(error);
  if (error.code === "ENOSYS") return "idmapped mounts need Linux 5.12";
  if (error.code === "EPERM") return "it is an idmapped mount already, or has one below it";
  if (error.code !== "EINVAL") return messageOf(error);
  const can = "ext4, xfs, btrfs, and tmpfs from Linux 6.3 on do";
  if (recursive) {
    try {
      closeFd(cloneTree(source, { userNamespace }));
      return `something mounted below it is of a file system without idmapped mounts (${can}); bind-nonrecursive leaves it out`;
    } catch {
      // it is the source's own
    }
  }
  return `its file system, ${fileSystemAt(source)}, has no idmapped mounts on this kernel (${can})`;
}

async function checkSource({ source, createSource }: ContainerMount, owner: { uid: number; gid: number }): Promise<void> {
  try {
    await stat(source);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw invalidArgument(`error while creating mount source path '${source}'`, error);
    if (createSource !== true) throw invalidArgument(`invalid mount config for type "bind": bind source path does not exist: ${source}`);
    try {
      makeBindSource(source, owner);
    } catch (cause) {
      throw invalidArgument(`error while creating mount source path '${source}': ${(cause as Error).message}`, cause);
    }
  }
}

/** Gives the container's volumes back, after its run. Never throws. */
export async function releaseVolumes(ctx: Context, entry: Entry): Promise<void> {
  for (const { type, source } of entry.record.mountSources) {
    if (type !== "volume") continue;
    try {
      await ctx.volumes.unmount(source, entry.record.id);
    } catch (error) {
      ctx.log.warn("unmounting a volume", { volume: source, container: entry.record.id, error: messageOf(error) });
    }
  }
}
