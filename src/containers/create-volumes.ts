import { existsSync } from "node:fs";
import { mkdir, rmdir } from "node:fs/promises";
import { holdDirectoryInRoot, type HeldPath } from "../kernel/inroot.ts";
import { SysError } from "../kernel/ffi.ts";
import type { ImageRecord } from "../images/types.ts";
import { invalidArgument, kindOf, messageOf } from "../lib/errors.ts";
import type { ContainerConfig, HostConfig } from "../oci/container.ts";
import { parseIdMapping, type IDMapping } from "../oci/id-mapping.ts";
import { withInitLayer } from "../snapshots/init-layer.ts";
import { mountRequests, parseMount, parseVolumesFrom, type MountRequest } from "./binds.ts";
import { lookupPartner, type Context } from "./context.ts";
import { newId } from "./names.ts";
import type { ContainerMount, ContainerRecord, MountPoint } from "./types.ts";

interface Inherited {
  point: MountPoint;
  source: ContainerMount;
  /** The container that it is had from. */
  from?: string;
}

/** All mounts of a container to be, checked; nothing is made yet. */
export interface VolumePlan {
  inherited: Inherited[];
  requests: MountRequest[];
}

/**
 * Mounts of other containers (VolumesFrom), overridden by Binds, Mounts and Tmpfs; then an anonymous volume for each path of
 * Config.Volumes that nothing is mounted on. `asked`: the settings without the image's, whose labels have no say. @throws EngineError invalidArgument, notFound
 */
export function planVolumes(ctx: Context, config: ContainerConfig, host: HostConfig, asked: ContainerConfig = config): VolumePlan {
  const requests = labelledOwners(mountRequests(host), asked).map((request) => checkOwners(besideOwnMounts(ctx, request)));
  for (const { type, source, createSource } of requests) {
    if (type === "image") imageOf(ctx, source);
    if (type === "bind" && !createSource && !existsSync(source)) {
      throw invalidArgument(`invalid mount config for type "bind": bind source path does not exist: ${source}`);
    }
  }
  const taken = new Set(requests.map((request) => request.destination));
  const inherited = new Map<string, Inherited>();
  for (const text of host.VolumesFrom ?? []) {
    const { container, readOnly } = parseVolumesFrom(text);
    const other = lookupPartner(ctx, container).record;
    for (const point of other.mounts) {
      const source = other.mountSources.find((mount) => mount.destination === point.Destination);
      if (source === undefined || taken.has(point.Destination)) continue;
      const writable = point.RW && !readOnly;
      // of several containers with the same path the last one gives it, as in Docker
      inherited.set(point.Destination, { point: { ...point, RW: writable, Mode: "" }, source: { ...source, readOnly: !writable }, from: other.id });
    }
  }
  for (const path of Object.keys(config.Volumes ?? {})) {
    const request = { ...parseMount({ Type: "volume", Target: path }), mode: "" };
    if (taken.has(request.destination) || inherited.has(request.destination)) continue;
    taken.add(request.destination);
    requests.push({ ...request, fromConfig: true, driver: host.VolumeDriver || undefined });
  }
  return { inherited: [...inherited.values()], requests };
}

/** For clients that pass on no mount option they don't know, as Compose: mounts by their destination, `/src` or `/src=USER`, with commas between them. */
const IDMAP_LABEL = "berth.idmap";

function labelledOwners(requests: MountRequest[], { Labels: labels }: ContainerConfig): MountRequest[] {
  const entries = (labels?.[IDMAP_LABEL] ?? "").split(",").filter((entry) => entry !== "");
  const invalid = (entry: string, why: string): Error => invalidArgument(`invalid label ${IDMAP_LABEL}: ${entry}: ${why}`);
  const result = [...requests];
  for (const entry of entries) {
    const [, destination = "", text = ""] = /^([^=]*)=?(.*)$/s.exec(entry)!;
    const at = result.findIndex((request) => request.destination === destination.replace(/(.)\/+$/, "$1"));
    const request = result[at];
    if (request === undefined || (request.type !== "bind" && request.type !== "volume")) throw invalid(entry, "no bind or volume is mounted there");
    if (request.owners !== undefined) throw invalid(entry, "that mount has an idmap of its own");
    try {
      result[at] = { ...request, owners: parseIdMapping(text) };
    } catch (error) {
      throw invalid(entry, messageOf(error));
    }
  }
  return result;
}

/** The mount that shows other owners is a copy: what is mounted on the source later doesn't get there. @throws EngineError invalidArgument */
function checkOwners(request: MountRequest): MountRequest {
  const { owners, type, source, propagation } = request;
  if (owners === undefined || type !== "bind" || /^r?private$/.test(propagation)) return request;
  throw invalidArgument(`invalid mount config for type "bind": idmap of ${source} doesn't go with propagation ${propagation}`);
}

/**
 * A bind that has the engine's own directories in it, or lies in them, brings the mounts of other containers along. A private copy would keep them mounted
 * after their containers' end, which overlayfs forbids for a root that is mounted again; a slave lets them go. Docker's rule, and its words.
 * @throws EngineError invalidArgument
 */
function besideOwnMounts(ctx: Context, request: MountRequest): MountRequest {
  const { type, source, propagation } = request;
  const { dataRoot, execRoot } = ctx.paths;
  const holds = (outer: string, inner: string): boolean => `${inner}/`.startsWith(outer === "/" ? "/" : `${outer}/`);
  const isBeside = holds(source, dataRoot) || holds(source, execRoot) || holds(dataRoot, source);
  if (type !== "bind" || !request.recursive || !isBeside) return request;
  if (request.isDefaultPropagation === true) return { ...request, propagation: "rslave" };
  if (propagation === "rslave" || propagation === "rshared") return request;
  throw invalidArgument(
    `invalid mount config: must use either propagation mode "rslave" or "rshared" when mount source is within the daemon root, ` +
      `daemon root: ${JSON.stringify(dataRoot)}, bind mount source: ${JSON.stringify(source)}, propagation: ${JSON.stringify(propagation)}`,
  );
}

/** A 404 would make the docker command pull the image and try again. @throws EngineError invalidArgument, unavailable */
export async function checkDrivers(ctx: Context, { requests }: VolumePlan): Promise<void> {
  for (const { driver } of requests) {
    if (driver === undefined || driver === "local") continue;
    try {
      await ctx.volumes.checkDriver(driver);
    } catch (error) {
      throw kindOf(error) === "notFound" ? invalidArgument(messageOf(error), error) : error;
    }
  }
}

/** Makes the volumes, refers to them by rows, fills new ones from the image, and writes the mounts into `record`. */
export async function prepareVolumes(ctx: Context, record: ContainerRecord, plan: VolumePlan): Promise<void> {
  const refer = ctx.store.db.query(
    "INSERT INTO container_volumes (container, volume, unnamed) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET unnamed = max(unnamed, excluded.unnamed)",
  );
  const mounts: Inherited[] = [...plan.inherited];
  for (const { point, from = "" } of plan.inherited) if (point.Name !== undefined) refer.run(record.id, point.Name, isUnnamed(ctx, from, point.Name));
  const filled: { name: string; destination: string }[] = [];
  for (const request of plan.requests) {
    if (request.type === "image") {
      mounts.push(imageMount(ctx, request));
      continue;
    }
    if (request.type !== "volume") {
      mounts.push(hostMount({ ...request, type: request.type }));
      continue;
    }
    const anonymous = request.source === "";
    const name = anonymous ? newId() : request.source;
    // The reference comes first, so that no prune takes the volume in between.
    refer.run(record.id, name, anonymous ? 1 : 0);
    const { driver, labels, driverOptions: options } = request;
    const volume = await ctx.volumes.create({ name, anonymous, driver, ...(isSome(labels) && { labels }), ...(isSome(options) && { options }) });
    const readOnly = request.readOnly || volume.snapshotOf !== undefined;
    mounts.push({
      point: {
        Type: "volume",
        Name: name,
        Source: volume.mountpoint,
        Destination: request.destination,
        Driver: volume.driver,
        // Docker shows its SELinux mode for what stands in Binds and Mounts, whether SELinux is there or not.
        Mode: request.mode !== "" ? request.mode : request.fromConfig === true || volume.driver !== "local" ? "" : "z",
        RW: !readOnly,
        Propagation: "",
        ...withOwners(request),
      },
      source: {
        type: "volume",
        source: name,
        destination: request.destination,
        readOnly,
        options: ["rbind", "rprivate"],
        subpath: request.subpath,
        ...(request.owners === undefined ? {} : { owners: request.owners }),
      },
    });
    if (request.copy && request.subpath === undefined) filled.push({ name, destination: request.destination });
  }
  record.mounts = mounts.map(({ point }) => point).filter((point) => point.Destination !== "" && !isHostTmpfs(record.host, point));
  record.mountSources = mounts.map(({ source }) => source);
  await fillVolumes(ctx, record, filled);
}

const isSome = (map: Record<string, string>): boolean => Object.keys(map).length > 0;

/** As the container that it is had from has it. */
function isUnnamed(ctx: Context, container: string, volume: string): number {
  const select = ctx.store.db.query<{ unnamed: number }, [string, string]>("SELECT unnamed FROM container_volumes WHERE container = ? AND volume = ?");
  return select.get(container, volume)?.unnamed ?? 0;
}

/** HostConfig.Tmpfs stands in HostConfig only; Mounts of type tmpfs are shown under Mounts too. */
function isHostTmpfs(host: HostConfig, point: MountPoint): boolean {
  return point.Type === "tmpfs" && !(host.Mounts ?? []).some((mount) => mount.Type === "tmpfs" && mount.Target.replace(/(.)\/+$/, "$1") === point.Destination);
}

/** The image's files as they are now: a tag that moves later changes nothing. @throws EngineError invalidArgument */
function imageMount(ctx: Context, { source: reference, destination, subpath, mode, propagation }: MountRequest): Inherited {
  const { id, layers } = imageOf(ctx, reference);
  return {
    point: { Type: "image", Name: reference, Source: id, Destination: destination, Mode: mode, RW: false, Propagation: propagation },
    source: { type: "image", source: id, destination, readOnly: true, options: ["rbind", propagation], layers, subpath },
  };
}

/** A missing one is a 400: the docker command takes a 404 for the container's own image. @throws EngineError invalidArgument */
function imageOf(ctx: Context, reference: string): ImageRecord {
  try {
    return ctx.images.resolve(reference);
  } catch (error) {
    throw invalidArgument(`invalid mount config for type "image": ${messageOf(error)}`, error);
  }
}

function hostMount(request: MountRequest & { type: "bind" | "tmpfs" }): Inherited {
  const { type, source, destination, readOnly, readOnlyBelow } = request;
  return {
    point: {
      Type: request.type,
      Source: source,
      Destination: destination,
      Mode: request.mode,
      RW: !readOnly,
      Propagation: request.propagation,
      ...withOwners(request),
    },
    source: {
      type,
      source,
      destination,
      readOnly,
      options: type === "tmpfs" ? request.tmpfsOptions : [request.recursive ? "rbind" : "bind", request.propagation],
      ...(request.createSource ? { createSource: true } : {}),
      ...(readOnlyBelow === undefined ? {} : { readOnlyBelow }),
      ...(request.isDefaultPropagation === true && request.propagation === "rslave" ? { slaveIfShared: true } : {}),
      ...(request.owners === undefined ? {} : { owners: request.owners }),
    },
  };
}

/** What inspect shows. */
function withOwners({ owners }: MountRequest): { IDMapping?: IDMapping } {
  return owners === undefined ? {} : { IDMapping: owners };
}

/** Copies what the image has at the volumes' paths into those that are empty. */
async function fillVolumes(ctx: Context, record: ContainerRecord, volumes: { name: string; destination: string }[]): Promise<void> {
  const empty: typeof volumes = [];
  for (const volume of volumes) if (await ctx.volumes.mayFill(volume.name)) empty.push(volume);
  if (record.layers.length === 0) return;
  for (const { name, destination } of empty) await fillVolume(ctx, record, name, destination);
}

async function fillVolume(ctx: Context, record: ContainerRecord, name: string, destination: string): Promise<void> {
  const view = viewPath(ctx, record.id);
  await mkdir(view, { recursive: true });
  try {
    const { idMap } = ctx.volumes.get(name);
    const layers = await withInitLayer(ctx.snapshots, record.layers);
    await ctx.snapshots.mount({ target: view, layers, ...(idMap !== undefined && { idMap }) });
    using source = directoryIn(view, destination);
    if (source !== undefined) await ctx.volumes.copyUp(name, source.path);
  } finally {
    // lazily: a process that is just starting may hold a copy of the mount, and the place must go all the same
    await ctx.snapshots.unmount(view, { lazy: true });
    await rmdir(view);
  }
}

/** Where a view of a container's files is mounted for a moment: another place each time, since somebody may read a container whose volumes are being filled. */
export const viewPath = (ctx: Context, id: string): string => `${ctx.paths.tmp}/view-${id}-${crypto.randomUUID()}`;

/** Undefined where there is nothing. @throws EngineError invalidArgument where something else than a directory is */
function directoryIn(root: string, path: string): HeldPath | undefined {
  try {
    return holdDirectoryInRoot(root, path);
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    if (error.code === "ENOTDIR") throw invalidArgument(`cannot mount volume over existing file, file exists ${path}`, error);
    if (error.code === "ENOENT" || error.code === "ELOOP") return undefined;
    throw error;
  }
}
