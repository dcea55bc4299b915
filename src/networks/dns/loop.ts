import type { Poller } from "../../kernel/poller.ts";
import type { Timers } from "../../lib/timers.ts";

/** What everything in the Worker shares. */
export interface Loop {
  readonly poller: Poller;
  readonly timers: Timers;
  /** Monotonic, ms. */
  now(): number;
  /** For one read; copy what is kept. */
  readonly scratch: Buffer;
}
