import { messageOf } from "../lib/errors.ts";
import { changeState, type Context, type Entry } from "./context.ts";

/**
 * From now until its run ends, what the kernel kills in a container for want of memory is written down and told when it happens: init may live on.
 * Only for those that have a limit. To be called again when it gets one.
 */
export function followOom(ctx: Context, entry: Entry): void {
  const { host, id } = entry.record;
  const { sandbox, generation } = entry;
  if (sandbox === undefined || entry.oom !== undefined || ((host.Memory ?? 0) === 0 && !host.CgroupParent)) return;
  const onOom = (): void => {
    const { state } = entry.record;
    if (entry.generation !== generation || entry.sandbox !== sandbox || ctx.phase === "detached") return;
    try {
      changeState(ctx, entry, { state: { ...state, oomKilled: true } }, { action: "oom" });
    } catch (error) {
      ctx.log.warn("writing down that a container was out of memory", { container: id, error: messageOf(error) });
    }
  };
  entry.oom = sandbox.onOom(onOom, { isKnown: entry.record.state.oomKilled });
}

export function endOom(entry: Entry): void {
  entry.oom?.[Symbol.dispose]();
  entry.oom = undefined;
}
