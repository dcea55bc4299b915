import { EngineError, messageOf } from "../lib/errors.ts";
import type { Context, Entry } from "./context.ts";
import { pause, unpause } from "./pause.ts";

/** Running containers that may write to the volume. */
export function writersOf(ctx: Context, volume: string): Entry[] {
  const writes = ({ record, sandbox }: Entry): boolean =>
    sandbox !== undefined &&
    record.state.status === "running" &&
    record.mountSources.some((mount) => mount.type === "volume" && mount.source === volume && !mount.readOnly);
  return [...ctx.entries.values()].filter(writes);
}

/**
 * Freezes those containers while `work` lasts, so that its copy of the volume is of one moment. Should the engine die meanwhile, the next one thaws them.
 * @throws EngineError conflict
 */
export async function holdStill<T>(ctx: Context, volume: string, work: () => Promise<T>): Promise<T> {
  await using undo = new AsyncDisposableStack();
  for (const { record } of writersOf(ctx, volume)) {
    try {
      await pause(ctx, record.id, { forCommit: true });
    } catch (error) {
      // it has ended meanwhile, or somebody else froze it
      if (error instanceof EngineError && error.kind === "conflict") continue;
      throw error;
    }
    undo.defer(async () => {
      try {
        if (ctx.entries.get(record.id)?.record.state.status === "paused") await unpause(ctx, record.id);
      } catch (error) {
        ctx.log.warn("thawing a container after a copy of its volume", { container: record.id, error: messageOf(error) });
      }
    });
  }
  return await work();
}
