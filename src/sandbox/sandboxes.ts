import { createReadiness } from "../kernel/epoll.ts";
import { openNamespaceDoor } from "../kernel/namespace.ts";
import { createTurns } from "../lib/turns.ts";
import { adoptSandbox } from "./adopt.ts";
import type { SandboxesDeps } from "./context.ts";
import { createSandbox } from "./create.ts";
import { runningElsewhere } from "./elsewhere.ts";
import { startReaper } from "./reaper.ts";
import { sweep } from "./sweep.ts";
import type { RunningSandbox, Sandboxes } from "./types.ts";

/** Turns of less than half a millisecond in a round of the event loop. */
const SHORT_AT_ONCE = 4;

export function createSandboxes(deps: SandboxesDeps): Sandboxes {
  const running = new Map<string, RunningSandbox>();
  const reaper = startReaper((pid) => running.values().some((each) => each.pid === pid));
  const monitorProgram = Bun.which("conmon") ?? "/usr/bin/conmon";
  const ctx = {
    ...deps,
    readiness: createReadiness(),
    door: openNamespaceDoor(),
    reaper,
    turns: createTurns(),
    ends: createTurns(SHORT_AT_ONCE),
    samples: createTurns(SHORT_AT_ONCE),
    monitorProgram,
    running,
  };
  return {
    create: (spec, options = {}) => createSandbox(ctx, spec, options),
    adopt: (spec, startedAt) => adoptSandbox(ctx, spec, startedAt),
    runningElsewhere: (specs) => runningElsewhere(ctx, specs),
    sweep: (known) => sweep(ctx, known),
  };
}
