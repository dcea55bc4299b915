import { changeRecord, tryLookup, type Context } from "./context.ts";
import { forgetLinked } from "./linked.ts";
import { parseLink } from "./links.ts";
import { noSuchContainer } from "./validate.ts";

/** Removes the link `parent/alias` of the default bridge; both containers stay. @throws EngineError notFound */
export async function removeLink(ctx: Context, name: string): Promise<void> {
  const at = name.lastIndexOf("/");
  const [parent, alias] = [name.slice(0, at), name.slice(at + 1)];
  const entry = tryLookup(ctx, parent);
  if (entry === undefined) throw noSuchContainer(name);
  using _lock = await ctx.mutex.lock(entry.record.id);
  const { host, endpoints } = entry.record;
  const links = Object.hasOwn(endpoints, "bridge") ? (host.Links ?? []) : [];
  const rest = links.filter((link) => parseLink(link).alias !== alias);
  if (rest.length === links.length) throw noSuchContainer(name);
  changeRecord(ctx, entry, { host: { ...host, Links: rest } });
  const to = entry.record.linked?.[alias];
  if (to !== undefined) ctx.networks.closeLink({ from: entry.record.id, to });
  forgetLinked(ctx, entry.record, alias);
}
