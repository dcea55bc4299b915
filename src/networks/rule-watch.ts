import { type NftablesWatch, type TableChange, watchNftables } from "../kernel/nftables-watch.ts";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";

/** Others' changes are looked at so often at the most: what they break is mended within a second, and a program that changes rules all day costs little. */
const REST_MS = 500;

export interface RuleWatchOptions {
  /** Name of our tables, in any family. */
  table: string;
  log: Logger;
  /** Somebody else changed or removed a table of ours. */
  onDamage(): void;
  /** News were lost: what they were isn't known. */
  onLoss(): void;
  /** Somebody else changed iptables' `filter`, whose policies concern us. */
  onFilter(): void;
}

/** Listens for others' changes of nftables. Where the kernel doesn't tell, only the regular look is left. */
export interface RuleWatch extends Disposable {
  /** Call it right after our own first change: whoever made what came meanwhile in our tables is us. */
  start(...ownPorts: number[]): void;
}

export function watchRules({ table, log, onDamage, onLoss, onFilter }: RuleWatchOptions): RuleWatch {
  const own = new Set<number>();
  let watch: NftablesWatch | undefined;
  let again: ReturnType<typeof setTimeout> | undefined;
  let closed = false;

  const attempt = (work: () => void): void => {
    try {
      work();
    } catch (error) {
      log.error("the firewall rules could not be mended", { error: messageOf(error) });
    }
  };

  const look = (changes: readonly TableChange[]): void => {
    const foreign = changes.filter(({ sender }) => !own.has(sender));
    if (foreign.some((change) => change.table === table)) attempt(onDamage);
    else if (foreign.some((change) => change.table === "filter")) attempt(onFilter);
  };

  const open = (): void => {
    try {
      watch = watchNftables({ restMs: REST_MS });
    } catch (error) {
      log.warn("the kernel doesn't tell of changes in nftables: rules are looked after every 20 s only", { error: messageOf(error) });
    }
  };

  const listen = (): void => {
    watch
      ?.start((changes) => {
        if (closed) return;
        if (changes !== undefined) return look(changes);
        // more news than fit
        watch?.[Symbol.dispose]();
        again = setTimeout(() => {
          open();
          listen();
          attempt(onLoss);
        }, REST_MS);
        again.unref();
      })
      .catch((error: unknown) => log.warn("the news of nftables can't be read: rules are looked after every 20 s only", { error: messageOf(error) }));
  };

  open();
  return {
    start(...ownPorts) {
      for (const port of ownPorts) own.add(port);
      try {
        for (const change of watch?.drain() ?? []) if (change.table === table) own.add(change.sender);
      } catch {
        // too much of it at once: the listener will say so
      }
      listen();
    },
    [Symbol.dispose]() {
      closed = true;
      clearTimeout(again);
      watch?.[Symbol.dispose]();
    },
  };
}
