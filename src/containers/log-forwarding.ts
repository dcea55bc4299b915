import { EngineError, messageOf } from "../lib/errors.ts";
import { isForwarded } from "../logs/options.ts";
import type { Context, Entry } from "./context.ts";
import { within } from "../lib/within.ts";
import { logDriverOf, logSourceOf } from "./logs.ts";
import { logPathOf } from "./spec.ts";

/** How long a removal waits for what is still to be forwarded. */
const removalPatienceMs = 5000;

/** Before a start: what an earlier run has left is let go, and the receiver must be there, as with Docker. @throws EngineError unavailable */
export async function prepareForwarding(ctx: Context, entry: Entry, signal: AbortSignal): Promise<void> {
  if (!isForwarded(logDriverOf(entry.record))) return;
  await entry.forwarding?.stop();
  try {
    await ctx.logs.checkReceiver(logDriverOf(entry.record), logSourceOf(entry.record), signal);
  } catch (error) {
    throw new EngineError("unavailable", `failed to initialize logging driver: ${messageOf(error)}`, { cause: error });
  }
}

/** Forwards a container's log where its driver says so; `ended` resolves when the present run is over. */
export function startForwarding(ctx: Context, entry: Entry, ended: Promise<unknown>): void {
  if (!isForwarded(logDriverOf(entry.record))) return;
  const { record } = entry;
  try {
    const forwarding = ctx.logs.forward(logDriverOf(entry.record), logSourceOf(record), {
      logPath: logPathOf(ctx, record),
      ended,
      hold: () => holdOutput(entry),
    });
    entry.forwarding = forwarding;
    void forwarding.done.then(() => {
      if (entry.forwarding === forwarding) delete entry.forwarding;
    });
  } catch (error) {
    // Its options were good when it was made, and aren't for this version.
    ctx.log.error("forwarding a container's log", { container: record.id, error: messageOf(error) });
  }
}

/** Before a log is removed: the last lines of `run --rm` shall arrive. */
export async function endForwarding(ctx: Context, entry: Entry): Promise<void> {
  const { forwarding } = entry;
  if (forwarding === undefined) return;
  if (!(await within(forwarding.done, removalPatienceMs)))
    ctx.log.warn("a container is removed before all of its log was forwarded", { container: entry.record.id });
  await forwarding.stop();
}

/** The monitor waits for whoever is attached: one that doesn't read stops it, and with it the container's output. */
function holdOutput({ sandbox }: Entry): Disposable {
  const stack = new DisposableStack();
  if (sandbox === undefined) return stack;
  stack.use(sandbox.io.subscribe({ stdout: () => {}, stderr: () => {}, end: () => {} }));
  stack.use(sandbox.io.hold());
  return stack;
}
