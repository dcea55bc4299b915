import { realtimeNano } from "../kernel/clock.ts";
import { invalidArgument } from "../lib/errors.ts";
import { parseTimestamp } from "../lib/time.ts";

/** `until` of prune filters, in unix milliseconds: only what is older goes. @throws EngineError invalidArgument */
export function untilFilter(filters: Record<string, string[]>): number | undefined {
  const values = filters.until;
  if (values === undefined) return undefined;
  if (values.length > 1) throw invalidArgument("more than one until filter specified");
  return Number(parseTimestamp(values[0]!, realtimeNano()) / 1_000_000n);
}
