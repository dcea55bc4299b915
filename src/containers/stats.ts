import type { StatsSample } from "../runtime/stats.ts";
import { lookup, type Context } from "./context.ts";

/** What the container uses now; undefined while it doesn't run. @throws EngineError notFound */
export async function stats(ctx: Context, reference: string): Promise<StatsSample | undefined> {
  return await lookup(ctx, reference).sandbox?.stats();
}
