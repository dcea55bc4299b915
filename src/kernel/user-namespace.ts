import { closeSync, openSync, writeFileSync } from "node:fs";
import { messageOf, unavailable } from "../lib/errors.ts";

/** `size` ids from `container` on inside are those from `host` on outside. */
interface Extent {
  container: number;
  host: number;
  size: number;
}

interface Extents {
  uids: readonly Extent[];
  gids: readonly Extent[];
}

/** A descriptor of a user namespace, for idmapped mounts. */
export interface UserNamespace extends Disposable {
  readonly fd: number;
}

/** User namespaces without processes, kept as long as they are wanted often: each costs a process for some milliseconds. */
export interface UserNamespaces extends Disposable {
  /** @throws EngineError unavailable where the kernel gives none */
  open(ids: Extents): Promise<UserNamespace>;
}

/** Open at a time: one for the engine's own map, and for containers that have their own and start over and over. */
const MOST = 16;

export function createUserNamespaces(): UserNamespaces {
  const known = new Map<string, Promise<number>>();
  const forget = (key: string): void => {
    const held = known.get(key);
    known.delete(key);
    void held?.then(closeSync, () => {});
  };
  return {
    open: async (ids) => {
      const key = JSON.stringify(ids);
      const held = known.get(key) ?? makeUserNamespace(ids);
      known.delete(key); // and back in, as the latest
      known.set(key, held);
      if (known.size > MOST) forget(known.keys().next().value!);
      try {
        // a descriptor of the caller's own, whatever becomes of ours
        const fd = openSync(`/proc/self/fd/${await held}`, "r");
        return { fd, [Symbol.dispose]: () => closeSync(fd) };
      } catch (error) {
        if (known.get(key) === held) known.delete(key);
        throw error;
      }
    },
    [Symbol.dispose]: () => {
      for (const key of known.keys()) forget(key);
    },
  };
}

/**
 * A process of many threads can't leave its user namespace (unshare(2)), so a child does: `cat`, which tells by its echo that it is there, and goes
 * with its standard input.
 */
async function makeUserNamespace(ids: Extents): Promise<number> {
  try {
    const child = Bun.spawn(["unshare", "--user", "cat"], { stdin: "pipe", stdout: "pipe", stderr: "pipe", env: { PATH: "/usr/bin:/bin", LC_ALL: "C" } });
    try {
      child.stdin.write("\n");
      child.stdin.flush();
      const { done } = await child.stdout.getReader().read();
      if (done) throw new Error((await new Response(child.stderr).text()).trim());
      for (const [file, extents] of [["uid_map", ids.uids] as const, ["gid_map", ids.gids] as const]) {
        const lines = extents.map(({ container, host, size }) => `${container} ${host} ${size}\n`);
        writeFileSync(`/proc/${child.pid}/${file}`, lines.join(""));
      }
      return openSync(`/proc/${child.pid}/ns/user`, "r");
    } finally {
      await child.stdin.end();
      await child.exited;
    }
  } catch (error) {
    throw unavailable(`no user namespace could be made: ${messageOf(error)}`, error);
  }
}
