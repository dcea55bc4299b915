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
    const [stored, coming] = limit === undefined ? [0, 0] : [records.repositoryBytes(repository), (reserved.get(repository) ?? 0) + bytes];
    if (limit !== undefined && stored + coming > limit) return exceeded(`repository ${repository}`, limit, stored, coming);
    const { total } = limits;
    if (total === undefined || records.totalBytes + reservedTotal + bytes <= total) return undefined;
    return exceeded("the registry", total, records.totalBytes, reservedTotal + bytes);
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

function exceeded(what: string, limit: number, stored: number, coming: number): string {
  return `${what} would exceed its quota of ${formatBytes(limit)}: it holds ${formatBytes(stored)}, and what is being pushed takes ${formatBytes(coming)}`;
}

function prepare({ total, repository, repositories }: QuotaConfig): { total: number | undefined; of: (name: string) => number | undefined } {
  const special = Object.entries(repositories).map(([pattern, bytes]) => ({ matches: repositoryMatcher(pattern), bytes }));
  return { total, of: (name) => special.find(({ matches }) => matches(name))?.bytes ?? repository };
}
