import { conflict } from "../lib/errors.ts";
import type { AttachHub, OutputListener } from "../sandbox/types.ts";
import { emitEvent, isBeingRemoved, lookup, lookupRunning, type Context } from "./context.ts";
import type { AttachSession } from "./types.ts";

/** Subscribes before it returns; where the container isn't started yet, it gets everything from the first byte on. @throws EngineError conflict */
export function attach(ctx: Context, reference: string, listener?: OutputListener): AttachSession {
  const entry = lookup(ctx, reference);
  const { id, state, config } = entry.record;
  if (state.status === "paused") throw conflict(`container ${reference} is paused, unpause the container before attach`);
  if (state.status === "restarting") throw conflict(`container ${reference} is restarting, wait until the container is running`);
  if (isBeingRemoved(entry)) throw conflict(`container ${id} is marked for removal and cannot be attached to`);
  // Where it runs, the session is with this run: what is written to it later must not reach the next one.
  const session = sessionOn(entry.sandbox?.io ?? entry.output, listener, {
    tty: config.Tty === true,
    closesStdin: config.StdinOnce === true && config.Tty !== true,
    detached: () => emitEvent(ctx, entry.record, { action: "detach" }),
  });
  emitEvent(ctx, entry.record, { action: "attach" });
  return session;
}

/** A listener on a hub, and word of its end. */
export function sessionOn(io: AttachHub, listener: OutputListener | undefined, traits: Pick<AttachSession, "tty" | "closesStdin" | "detached">): AttachSession {
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  if (listener === undefined) resolve();
  const subscription =
    listener &&
    io.subscribe({
      stdout: (chunk) => listener.stdout(chunk),
      stderr: (chunk) => listener.stderr(chunk),
      end: () => {
        listener.end();
        resolve();
      },
    });
  return {
    ...traits,
    io,
    ended,
    [Symbol.dispose]: () => {
      subscription?.[Symbol.dispose]();
      resolve();
    },
  };
}

/** @throws EngineError conflict */
export async function resize(ctx: Context, reference: string, rows: number, cols: number): Promise<void> {
  const { record, sandbox } = lookupRunning(ctx, reference);
  await sandbox.resize(rows, cols);
  emitEvent(ctx, record, { action: "resize", attributes: { height: String(rows), width: String(cols) } });
}
