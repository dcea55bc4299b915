import type { SpawnAnswer, SpawnOrder } from "../lib/spawn-server.ts";
import { createSpawner, type Spawner } from "../lib/spawner.ts";
import { type Answered, type Asked, callsOver } from "../lib/worker-calls.ts";
import { startWorker } from "../lib/worker.ts";
import type { LinkAnswer, LinkCall, LinkCalls } from "../networks/link-calls.ts";

/** What containers need of the kernel that would hold up the event loop, done by one Worker: each costs some 2 MB. */
export interface Hands extends Disposable {
  readonly spawner: Spawner;
  readonly links: LinkCalls;
}

/** The Worker's death ends the engine: another would know nothing of the processes that run; the next engine asks the kernel. */
export function startHands(): Hands {
  const worker = startWorker<SpawnOrder | Asked<LinkCall>, SpawnAnswer | Answered<LinkAnswer>>("daemon/hands.worker.ts");
  return { spawner: createSpawner(worker), links: callsOver(worker), [Symbol.dispose]: () => worker[Symbol.dispose]() };
}
