import type { StatsSample } from "../runtime/stats.ts";
import { lookup, type Context } from "./context.ts";

/** What the container uses now; undefined while it doesn't run. @throws EngineError notFound */
export function stats(ctx: Context, reference: string): StatsSample | undefined {
  return lookup(ctx, reference).sandbox?.stats();
}
