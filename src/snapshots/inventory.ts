import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { TARS, WORK, type SnapshotContext, type SnapshotRow } from "./context.ts";
import type { SnapshotId, Snapshots } from "./types.ts";

/** Synchronous: two calls to the kernel for each. */
export function inventory({ store, path, work }: SnapshotContext): ReturnType<Snapshots["inventory"]> {
  const isThere = (directory: string): boolean => statSync(directory, { throwIfNoEntry: false })?.isDirectory() === true;
  return store.db
    .query<Pick<SnapshotRow, "id" | "kind" | "lists_root">, []>("SELECT id, kind, lists_root FROM snapshots WHERE state = 'ready'")
    .all()
    .map(({ id, kind, lists_root }) => ({
      id,
      kind,
      present: isThere(path(id)) && (kind !== "active" || isThere(work(id))),
      listsRoot: lists_root === 1,
    }));
}

/** Rows come before directories and go after them: what has none, and is still there once that was looked up, belongs to nobody. */
export async function strays(ctx: SnapshotContext, { remove = false }: { remove?: boolean } = {}): Promise<string[]> {
  const { root } = ctx;
  const names = readdirSync(root).filter((name) => !name.startsWith("."));
  const beside = [WORK, TARS].flatMap((folder) => readdirSync(join(root, folder)).map((name) => ({ folder, name })));
  const belongs = (id: string): boolean => ctx.peek(id as SnapshotId) !== undefined;
  const candidates = [...names.filter((name) => !belongs(name)), ...beside.filter(({ name }) => !belongs(name)).map(({ folder, name }) => `${folder}/${name}`)];
  const found = candidates.filter((name) => statSync(join(root, name), { throwIfNoEntry: false }) !== undefined);
  if (remove) await ctx.discard(found);
  return found;
}
