import { createReadiness } from "../kernel/epoll.ts";
import { adoptSandbox } from "./adopt.ts";
import type { SandboxesDeps } from "./context.ts";
import { createSandbox } from "./create.ts";
import { sweep } from "./sweep.ts";
import type { Sandboxes } from "./types.ts";

export function createSandboxes(deps: SandboxesDeps): Sandboxes {
  const ctx = { ...deps, readiness: createReadiness(), monitorProgram: Bun.which("conmon") ?? "/usr/bin/conmon", running: new Map() };
  return {
    create: (spec, options = {}) => createSandbox(ctx, spec, options),
    adopt: (spec, startedAt) => adoptSandbox(ctx, spec, startedAt),
    sweep: (known) => sweep(ctx, known),
  };
}
