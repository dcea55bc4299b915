import { conflict } from "../lib/errors.ts";
import { find, type Context, type Entry } from "./context.ts";
import { mountFor, unmountFor } from "./mount.ts";

/** Marks a user that is no container. */
const COPY = "copy ";

/** Its files are being copied, or replaced. */
export function isHeld({ active }: Entry): boolean {
  return [...active].some((user) => user.startsWith(COPY));
}

/** @throws EngineError conflict */
export function checkNotHeld(entry: Entry, what: string): void {
  if (isHeld(entry)) throw conflict(`${what}: volume is in use - [its files are being copied]`);
}

/** Containers that run with it. */
export function runningWith({ active }: Entry): string[] {
  return [...active].filter((user) => !user.startsWith(COPY));
}

/** For work that lasts: the volume is mounted and stays, under its name, without its lock being held. `check` is called under the lock. */
export async function whileHeld<T>(ctx: Context, name: string, work: (entry: Entry) => Promise<T>, check: (entry: Entry) => void = () => {}): Promise<T> {
  const user = COPY + crypto.randomUUID();
  const entry = await ctx.mutex.run(name, async () => {
    const found = find(ctx, name);
    check(found);
    await mountFor(ctx, found, user);
    return found;
  });
  try {
    return await work(entry);
  } finally {
    await ctx.mutex.run(name, async () => await unmountFor(ctx, entry, user));
  }
}
