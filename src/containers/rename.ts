import { conflict, invalidArgument, prefixed } from "../lib/errors.ts";
import { changeRecord, isBeingRemoved, lookup, type Context } from "./context.ts";
import { renameInLinks } from "./linked.ts";
import { parseName } from "./names.ts";
import { nameConflict } from "./validate.ts";

/** Docker's words, which clients print. */
const prefix = "Error when allocating new name: ";

function allocatable(newName: string): string {
  try {
    // Docker shows it with its slash
    return parseName(newName.startsWith("/") ? newName : `/${newName}`);
  } catch (error) {
    throw prefixed(prefix, error);
  }
}

/** @throws EngineError invalidArgument, conflict */
export function rename(ctx: Context, reference: string, newName: string): void {
  const entry = lookup(ctx, reference);
  const { id, name: oldName } = entry.record;
  if (newName === "" || newName === "/") throw invalidArgument("Neither old nor new names may be empty");
  const name = allocatable(newName);
  if (isBeingRemoved(entry)) throw conflict(`container ${id} is marked for removal and cannot be renamed`);
  if (name === oldName) throw invalidArgument("Renaming a container with the same name as its current name");
  const owner = ctx.names.get(name);
  if (owner !== undefined) throw conflict(prefix + nameConflict(name, owner).message);
  ctx.store.tx(() => {
    changeRecord(ctx, entry, { name }, { action: "rename", attributes: { oldName: `/${oldName}` } });
    renameInLinks(ctx, id, name);
    const { config, endpoints } = entry.record;
    ctx.networks.rename({ containerId: id, containerName: name, hostname: config.Hostname ?? "", settings: endpoints });
  });
  ctx.names.delete(oldName);
  ctx.names.set(name, id);
}
