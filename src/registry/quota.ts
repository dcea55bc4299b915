import { formatBytes } from "../lib/bytes.ts";
import { Fault } from "./faults.ts";
import { repositoryMatcher } from "./patterns.ts";
import type { Records } from "./records.ts";

export interface QuotaConfig {
  /** Bytes of the whole registry, each digest once. */
  total?: number;
  /** Bytes of each repository. */
  repository?: number;
  /** Bytes of the repositories that a pattern matches; the first that does counts, before `repository`. */
  repositories: Readonly<Record<string, number>>;
}

/** Room taken for bytes on their way in. Dispose gives it back: what was stored by then counts by its rows. */
export interface Reservation extends Disposable {
  /** Takes room for `bytes` in all. @throws Fault DENIED where there is none */
  grow(bytes: number): void;
}

export interface Quota {
  reserve(repository: string): Reservation;
  configure(config: QuotaConfig): void;
}

/** Room is taken in steps, since each look at a repository's size costs. */
const step = 8 << 20;

export function createQuota(records: Records, initial: QuotaConfig): Quota {
  let limits = prepare(initial);
  /** Reserved bytes, by repository. */
  const reserved = new Map<string, number>();
  let reservedTotal = 0;

  const add = (repository: string, bytes: number): void => {
    reservedTotal += bytes;
    const now = (reserved.get(repository) ?? 0) + bytes;
    if (now === 0) reserved.delete(repository);
    else reserved.set(repository, now);
  };
  /** Why there is no room; undefined where there is. */
  const refusal = (repository: string, bytes: number): string | undefined => {
    const limit = limits.of(repository);
    const used = limit === undefined ? 0 : records.repositoryBytes(repository) + (reserved.get(repository) ?? 0);
    if (limit !== undefined && used + bytes > limit) {
      return `repository ${repository} is over its quota: it holds ${formatBytes(used)} of ${formatBytes(limit)}, and this needs ${formatBytes(bytes)}`;
    }
    const all = records.totalBytes + reservedTotal;
    if (limits.total === undefined || all + bytes <= limits.total) return undefined;
    return `the registry is over its quota: it holds ${formatBytes(all)} of ${formatBytes(limits.total)}, and this needs ${formatBytes(bytes)}`;
  };

  return {
    configure: (config) => {
      limits = prepare(config);
    },
    reserve: (repository) => {
      let taken = 0;
      return {
        grow: (bytes) => {
          if (bytes <= taken) return;
          const exact = bytes - taken;
          const size = refusal(repository, Math.max(exact, step)) === undefined ? Math.max(exact, step) : exact;
          const reason = size === exact ? refusal(repository, exact) : undefined;
          // 403: the clients' word for what trying again won't mend.
          if (reason !== undefined) throw new Fault("DENIED", reason);
          add(repository, size);
          taken += size;
        },
        [Symbol.dispose]: () => {
          add(repository, -taken);
          taken = 0;
        },
      };
    },
  };
}

function prepare({ total, repository, repositories }: QuotaConfig): { total: number | undefined; of: (name: string) => number | undefined } {
  const special = Object.entries(repositories).map(([pattern, bytes]) => ({ matches: repositoryMatcher(pattern), bytes }));
  return { total, of: (name) => special.find(({ matches }) => matches(name))?.bytes ?? repository };
}
