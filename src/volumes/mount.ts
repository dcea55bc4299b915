import { messageOf, prefixed } from "../lib/errors.ts";
import { isNetworkType } from "./options.ts";
import { find, saveRecord, type Context, type Entry } from "./context.ts";

/** See Volumes.mount. @throws EngineError notFound, invalidArgument where its options can't be mounted */
export async function mount(ctx: Context, name: string, container: string, how?: { destination: string; readOnly: boolean }): Promise<string> {
  using _lock = await ctx.mutex.lock(name);
  const entry = find(ctx, name);
  if (!entry.active.has(container)) await mountFor(ctx, entry, container);
  const place: Record<string, string> = how === undefined ? {} : { destination: how.destination, "read/write": String(!how.readOnly), propagation: "" };
  ctx.events.emit("volume", "mount", name, { driver: entry.record.driver, container, ...place });
  return entry.record.mountpoint;
}

/** See Volumes.unmount. */
export async function unmount(ctx: Context, name: string, container: string): Promise<void> {
  const other = ownerOf(ctx.entries.get(name));
  const work = unmountInTurn(ctx, name, container);
  if (other === undefined) return await work;
  // nobody waits for a plugin or a server to be rid of a container; whoever wants the volume next has to
  work.catch((error: unknown) => ctx.log.warn(`unmounting a volume: its ${other} failed`, { volume: name, container, error: messageOf(error) }));
}

/** Who may keep others waiting: the files are theirs. */
function ownerOf(entry: Entry | undefined): "plugin" | "server" | undefined {
  if (entry === undefined) return undefined;
  const { driver, options } = entry.record;
  if (driver !== "local") return "plugin";
  return isNetworkType(options["type"] ?? "") ? "server" : undefined;
}

async function unmountInTurn(ctx: Context, name: string, container: string): Promise<void> {
  using _lock = await ctx.mutex.lock(name);
  const entry = ctx.entries.get(name);
  if (entry === undefined || !(await unmountFor(ctx, entry, container))) return;
  ctx.events.emit("volume", "unmount", name, { driver: entry.record.driver, container });
}

/** See Volumes.adopt. */
export function adopt(ctx: Context, name: string, container: string): void {
  const entry = ctx.entries.get(name);
  if (entry === undefined) return;
  entry.active.add(container);
  if (entry.record.driver === "local") ctx.drivers.local.adopt(entry.record, container);
}

/** Mounted for a moment, to look into it or to fill it. */
export async function whileMounted<T>(ctx: Context, entry: Entry, work: (path: string) => Promise<T>): Promise<T> {
  const user = `moment ${crypto.randomUUID()}`;
  await mountFor(ctx, entry, user);
  try {
    return await work(entry.record.mountpoint);
  } finally {
    await unmountFor(ctx, entry, user);
  }
}

/** After a start: plugins hear of users that ended with a former engine. In the background: nobody waits for a plugin. */
export function settleRemote(ctx: Context): void {
  for (const [name, entry] of ctx.entries) {
    for (const user of entry.record.mountedFor ?? []) {
      if (entry.active.has(user)) continue;
      takeBack(ctx, name, entry, user).catch((error: unknown) =>
        ctx.log.warn("a volume is still mounted for nobody: its plugin failed", { volume: name, plugin: entry.record.driver, error: messageOf(error) }),
      );
    }
  }
}

async function takeBack(ctx: Context, name: string, entry: Entry, user: string): Promise<void> {
  using _lock = await ctx.mutex.lock(name);
  // it may have been started again
  if (!entry.active.has(user)) await unmountFor(ctx, entry, user);
}

/** Under the volume's lock. */
export async function mountFor(ctx: Context, entry: Entry, user: string): Promise<void> {
  const { record } = entry;
  if (record.driver === "local") await ctx.drivers.local.mount(record, user);
  else await mountRemote(ctx, entry, user);
  entry.active.add(user);
}

/** A plugin counts its users: each is written down before it is told of, so that whatever happens to this engine someone takes it back. */
async function mountRemote(ctx: Context, { record }: Entry, user: string): Promise<void> {
  const driver = await ctx.drivers.get(record.driver);
  record.mountedFor = [...(record.mountedFor ?? []).filter((each) => each !== user), user];
  saveRecord(ctx, record);
  try {
    record.mountpoint = await driver.mount(record, user);
    await ctx.mounter.checkAnswers(record.mountpoint);
  } catch (error) {
    await unmountRemote(ctx, record, user).catch(() => {}); // it may have mounted it all the same
    throw prefixed(`error while mounting volume '${record.name}': `, error);
  }
  saveRecord(ctx, record);
}

/** False where it wasn't mounted. */
export async function unmountFor(ctx: Context, { record, active }: Entry, user: string): Promise<boolean> {
  if (record.driver === "local") {
    if (!active.delete(user)) return false;
    await ctx.drivers.local.unmount(record, user);
    return true;
  }
  active.delete(user);
  if (!(record.mountedFor ?? []).includes(user)) return false;
  await unmountRemote(ctx, record, user);
  return true;
}

async function unmountRemote(ctx: Context, record: Entry["record"], user: string): Promise<void> {
  await (await ctx.drivers.get(record.driver)).unmount(record, user);
  record.mountedFor = (record.mountedFor ?? []).filter((each) => each !== user);
  saveRecord(ctx, record);
}
