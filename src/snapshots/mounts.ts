import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { EngineError, internal, invalidArgument } from "../lib/errors.ts";
import type { SysError } from "../kernel/ffi.ts";
import { attachTree, cloneTree } from "../kernel/bind.ts";
import { AT_FDCWD, closeFd, O, openAt } from "../kernel/fs.ts";
import { mount, MS, unmount } from "../kernel/mount.ts";
import { bytesOf } from "../lib/tar.ts";
import type { IdMap, IdRange } from "../oci/id-map.ts";
import { EMPTY, MAPPED, WORK, type SnapshotContext } from "./context.ts";
import type { Snapshots } from "./types.ts";

/** Overlayfs takes 500 lowers and answers EINVAL to 501 (OVL_MAX_STACK). */
const MOST_LAYERS = 500;

/**
 * Waits before a busy mount is tried again. A process that is just being made has copies of all our descriptors until it runs its program, those of a
 * directory in the mount among them, close-on-exec or not.
 */
const busyWaitsMs = [1, 3, 10, 30, 100];

type MountOptions = Parameters<Snapshots["mount"]>[0];

export type Mounts = Pick<Snapshots, "mount" | "unmount">;

export function createMounts(ctx: SnapshotContext): Mounts {
  const { root, workers, userNamespaces } = ctx;
  /** A volatile mount that was never unmounted leaves a mark, and the kernel refuses the upper as long as it stands. True where one was taken away. */
  const removeVolatileMark = (upper: MountOptions["upper"], error: unknown): boolean => {
    if (upper === undefined || (error as SysError).code !== "EINVAL") return false;
    const mark = join(ctx.work(upper), "work", "incompat");
    if (statSync(mark, { throwIfNoEntry: false }) === undefined) return false;
    rmSync(mark, { recursive: true });
    return true;
  };

  return {
    mount: async ({ target, layers, upper, volatile = false, idMap }) => {
      const options = optionsOf({ target, layers, upper, volatile });
      using namespace = idMap === undefined ? undefined : await userNamespaces.open(overlayIds(idMap));
      // Names relative to here are what lets 500 layers fit into the one page of options. Nothing else in the engine uses relative paths.
      if (process.cwd() !== root) process.chdir(root);
      const plain = (): void => mount("overlay", target, "overlay", upper === undefined ? MS.RDONLY : 0, options);
      const attempt = namespace === undefined ? plain : () => withOwnersOf(root, namespace.fd, plain);
      try {
        try {
          attempt();
        } catch (error) {
          if (!removeVolatileMark(upper, error)) throw error;
          attempt();
        }
      } catch (error) {
        throw internal(`mounting ${layers.length} layers on ${target}: ${(error as Error).message}`, error);
      }
    },
    unmount: async (target, { lazy = false, file = false } = {}) => {
      // Unmounting a writable overlay syncs its upper file system, 1.5 to 50 ms (measured), and any waits for RCU.
      const attempt = (): Promise<void> => workers.run({ op: "unmount", target, lazy, file });
      await (lazy || file ? attempt() : whenFree(attempt));
    },
  };
}

/** @throws what `attempt` throws, at once or when it is still busy after all waits */
export async function whenFree(attempt: () => Promise<void>): Promise<void> {
  for (const wait of busyWaitsMs) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof EngineError && error.kind === "conflict")) throw error;
      await Bun.sleep(wait);
    }
  }
  return await attempt();
}

/**
 * Makes an overlay mount while the snapshots folder, as an idmapped mount of itself, is the working directory. Overlayfs keeps copies of its layers'
 * mounts, so that this one can go at once; it must stand in our mount namespace, though (before Linux 6.15), and be no file system of its own.
 */
function withOwnersOf(root: string, userNamespace: number, work: () => void): void {
  const place = join(root, MAPPED);
  const tree = cloneTree(root, { userNamespace });
  try {
    const target = openAt(AT_FDCWD, bytesOf(place), O.PATH | O.DIRECTORY);
    try {
      attachTree(tree, target);
    } finally {
      closeFd(target);
    }
  } finally {
    closeFd(tree);
  }
  try {
    process.chdir(place);
    work();
  } finally {
    process.chdir(root);
    unmount(place, { lazy: true });
  }
}

/**
 * Ids for the user namespace of an overlay: the container's, and one more. What overlayfs makes for itself (its work directory, whiteouts) it makes as
 * who mounted it, the host's root, whom the idmapped upper must have an id for: else it is read-only (EOVERFLOW; Linux 6.18). No archive shows it.
 */
function overlayIds(map: IdMap): IdMap {
  const own = (ranges: readonly IdRange[]): IdRange[] => [...ranges, { container: OVERLAY_OWNER, host: 0, size: 1 }];
  return { uids: own(map.uids), gids: own(map.gids) };
}

const OVERLAY_OWNER = 0x7ffffffe;

function optionsOf({ layers, upper, volatile }: MountOptions): string {
  // An image may have a layer twice (two empty ones, say), which overlayfs answers with ELOOP: its uppermost place hides all that it says further down.
  const lowers: string[] = [...new Set(layers.toReversed())];
  // Overlayfs wants a lower, and two of them where there is no upper.
  while (lowers.length < (upper === undefined ? 2 : 1)) lowers.push(EMPTY);
  if (lowers.length > MOST_LAYERS) throw invalidArgument(`${lowers.length} layers are more than overlayfs can mount (${MOST_LAYERS})`);
  const options = [`lowerdir=${lowers.join(":")}`];
  if (upper !== undefined) options.push(`upperdir=${upper}`, `workdir=${WORK}/${upper}`);
  // Off: layers must not depend on each other's marks, nor an archive steer them.
  options.push("redirect_dir=off", "metacopy=off", "index=off");
  if (volatile === true && upper !== undefined) options.push("volatile");
  return options.join(",");
}
