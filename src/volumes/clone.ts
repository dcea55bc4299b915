import { realtimeNano } from "../kernel/clock.ts";
import { invalidArgument, prefixed } from "../lib/errors.ts";
import { formatNano } from "../lib/time.ts";
import { find, plainRecord, type Context, type Entry } from "./context.ts";
import { makeFilled, replaceFiles } from "./fill.ts";
import { whileHeld } from "./hold.ts";
import { isPlain } from "./options.ts";
import type { CopyOptions, VolumeRecord } from "./types.ts";

/** The label by which snapshots are listed: the name of the volume that they are of. */
export const SNAPSHOT_LABEL = "berth.snapshot.of";

/** See Volumes.clone. */
export async function clone(ctx: Context, name: string, to: string, options: CopyOptions & { labels?: Record<string, string> }): Promise<VolumeRecord> {
  if (to === "") throw invalidArgument(`clone ${name}: the new volume has no name`);
  return await whileHeld(ctx, name, async (entry) => {
    const record = copyOf(ctx, entry.record, to, options.labels);
    return await makeFilled(ctx, record, (directory) => copyFiles(ctx, entry, directory, `clone ${name}`, options), { source: name });
  });
}

/** See Volumes.snapshot. */
export async function snapshot(ctx: Context, name: string, to: string, options: CopyOptions & { labels?: Record<string, string> }): Promise<VolumeRecord> {
  return await whileHeld(ctx, name, async (entry) => {
    if (entry.record.snapshotOf !== undefined) throw invalidArgument(`snapshot ${name}: it is a snapshot itself: clone it`);
    const now = formatNano(realtimeNano())
      .replaceAll(/[-:]|\.\d+Z$/g, "")
      .replace("T", "-");
    const record = copyOf(ctx, entry.record, to || freeName(ctx, `${name}.${now}`), { ...options.labels, [SNAPSHOT_LABEL]: name });
    const whole: VolumeRecord = { ...record, snapshotOf: name };
    return await makeFilled(ctx, whole, (directory) => copyFiles(ctx, entry, directory, `snapshot ${name}`, options), { source: name });
  });
}

/** Two may be made within a second. */
function freeName(ctx: Context, name: string): string {
  const isTaken = (each: string): boolean => ctx.entries.has(each) || ctx.making.has(each);
  if (!isTaken(name)) return name;
  let count = 2;
  while (isTaken(`${name}-${count}`)) count++;
  return `${name}-${count}`;
}

/** See Volumes.restoreSnapshot. */
export async function restoreSnapshot(ctx: Context, name: string, options: CopyOptions & { to?: string }): Promise<VolumeRecord> {
  return await whileHeld(ctx, name, async (entry) => {
    const { snapshotOf, idMap } = entry.record;
    if (snapshotOf === undefined) throw invalidArgument(`restore ${name}: it is no snapshot of a volume`);
    const target = options.to || snapshotOf;
    const fill = (directory: string): Promise<void> => copyFiles(ctx, entry, directory, `restore ${target}`, options);
    if (!ctx.entries.has(target)) return await makeFilled(ctx, copyOf(ctx, entry.record, target), fill, { source: name });
    return await replaceFiles(ctx, target, fill, { action: "restore", idMap, attributes: { snapshot: name } });
  });
}

/** A plain volume with the same labels, but for those that say whose it is: Compose would take the copy for its own. */
function copyOf(ctx: Context, source: VolumeRecord, name: string, labels: Record<string, string> = {}): VolumeRecord {
  const carried = Object.entries(source.labels).filter(([key]) => !key.startsWith("com.docker.compose.") && key !== SNAPSHOT_LABEL);
  return {
    ...plainRecord(ctx, name),
    labels: { ...Object.fromEntries(carried), ...labels },
    // what an option or a plugin mounts has the host's ids
    ...(isPlain(source) && source.idMap !== undefined && { idMap: source.idMap }),
  };
}

async function copyFiles(ctx: Context, { record }: Entry, directory: string, what: string, { onProgress, signal }: CopyOptions): Promise<void> {
  let total = 0;
  if (onProgress !== undefined)
    void ctx.trees.treeSize(record.mountpoint).then(
      (bytes) => (total = bytes),
      () => {},
    );
  try {
    await ctx.trees.cloneTree(record.mountpoint, directory, {
      ...(onProgress !== undefined && { onProgress: (bytes: number) => onProgress(bytes, Math.max(bytes, total)) }),
      ...(signal !== undefined && { signal }),
    });
  } catch (error) {
    throw prefixed(`${what}: `, error);
  }
}

/** A volume's new name in its snapshots. */
export function followRename(ctx: Context, from: string, to: string, write: (record: VolumeRecord) => void): void {
  for (const entry of ctx.entries.values()) {
    if (entry.record.snapshotOf !== from) continue;
    const record = { ...entry.record, snapshotOf: to, labels: { ...entry.record.labels, [SNAPSHOT_LABEL]: to } };
    write(record);
    ctx.store.afterCommit(() => void (find(ctx, record.name).record = record));
  }
}
