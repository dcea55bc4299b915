import { conflict } from "../lib/errors.ts";
import type { HostConfig } from "../oci/container.ts";
import type { VolumeRecord } from "../volumes/types.ts";
import { changeRecord, type Context, type Entry } from "./context.ts";

/**
 * A volume's new name, in the records of the containers that have it too, all in one transaction. Running ones go on: their mounts don't depend on it.
 * @throws EngineError notFound, invalidArgument, conflict where the name is taken, or a container with it is being made, started or removed
 */
export async function renameVolume(ctx: Context, name: string, to: string): Promise<VolumeRecord> {
  return await ctx.volumes.rename(name, to, (before, after) => {
    for (const id of ctx.volumes.usersOf(after.name)) {
      const entry = ctx.entries.get(id);
      if (entry === undefined || entry.starting !== undefined || entry.removing !== undefined) {
        throw conflict(
          `rename ${name}: container ${id} is being ${entry === undefined ? "made" : entry.removing === undefined ? "started" : "removed"} with it: try again`,
        );
      }
      follow(ctx, entry, before, after);
    }
  });
}

function follow(ctx: Context, entry: Entry, before: VolumeRecord, after: VolumeRecord): void {
  const { mounts, mountSources, host } = entry.record;
  changeRecord(ctx, entry, {
    mounts: mounts.map((point) => (point.Type === "volume" && point.Name === before.name ? { ...point, Name: after.name, Source: after.mountpoint } : point)),
    mountSources: mountSources.map((mount) => (mount.type === "volume" && mount.source === before.name ? { ...mount, source: after.name } : mount)),
    host: renamedIn(host, before.name, after.name),
  });
}

/** As inspect shows it, and as `docker compose` compares it. */
function renamedIn(host: HostConfig, from: string, to: string): HostConfig {
  return {
    ...host,
    ...(host.Binds ? { Binds: host.Binds.map((bind) => (bind.startsWith(`${from}:`) ? to + bind.slice(from.length) : bind)) } : {}),
    ...(host.Mounts ? { Mounts: host.Mounts.map((mount) => (mount.Type === "volume" && mount.Source === from ? { ...mount, Source: to } : mount)) } : {}),
  };
}
