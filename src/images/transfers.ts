import { cancelled } from "../lib/errors.ts";
import { unlessAborted } from "../lib/unless-aborted.ts";

/** What somebody who waits for a transfer hears of it. */
export interface TransferWatcher {
  status(text: string): void;
  bytes(text: string, current: number, total: number): void;
}

export interface Transfers {
  /**
   * Runs `work` for `key`, or joins the run under way. Its signal fires only once everybody who waits has gone.
   * @throws what `work` threw, or EngineError cancelled where the caller's own signal fired
   */
  join(
    key: string,
    watcher: TransferWatcher,
    signal: AbortSignal | undefined,
    work: (all: TransferWatcher, signal: AbortSignal) => Promise<void>,
  ): Promise<void>;
}

interface Transfer {
  watchers: Set<TransferWatcher>;
  controller: AbortController;
  done: Promise<void>;
  /** What a late joiner should hear at once. */
  lastStatus: string | undefined;
}

/** The same blob wanted by several pulls is fetched once. */
export function createTransfers(): Transfers {
  const running = new Map<string, Transfer>();

  const start = (key: string, work: (all: TransferWatcher, signal: AbortSignal) => Promise<void>): Transfer => {
    const controller = new AbortController();
    const transfer: Transfer = { watchers: new Set(), controller, done: Promise.resolve(), lastStatus: undefined };
    const all: TransferWatcher = {
      status: (text) => {
        transfer.lastStatus = text;
        for (const watcher of transfer.watchers) watcher.status(text);
      },
      bytes: (text, current, total) => {
        for (const watcher of transfer.watchers) watcher.bytes(text, current, total);
      },
    };
    transfer.done = Promise.resolve()
      .then(() => work(all, controller.signal))
      .finally(() => {
        if (running.get(key) === transfer) running.delete(key);
      });
    // Watchers that left don't hear of its end.
    transfer.done.catch(() => undefined);
    running.set(key, transfer);
    return transfer;
  };

  return {
    join: async (key, { status, bytes }, signal, work) => {
      if (signal?.aborted) throw cancelled("cancelled", signal.reason);
      const transfer = running.get(key) ?? start(key, work);
      // An object of its own for each caller: the set counts callers.
      const watcher: TransferWatcher = { status, bytes };
      transfer.watchers.add(watcher);
      if (transfer.lastStatus !== undefined) watcher.status(transfer.lastStatus);
      try {
        await unlessAborted(transfer.done, signal, "cancelled");
      } finally {
        transfer.watchers.delete(watcher);
        if (transfer.watchers.size === 0) {
          // The next who wants it starts anew, also while this one is still winding down.
          if (running.get(key) === transfer) running.delete(key);
          transfer.controller.abort();
          await transfer.done.catch(() => undefined);
        }
      }
    },
  };
}
