import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createUserNamespaces } from "../../src/kernel/user-namespace.ts";
import { textOf } from "../../src/lib/tar.ts";
import { silent } from "../../src/lib/log.ts";
import { AT_FDCWD, closeFd, isDirectory, isWhiteout, O, openAt, readDirectory, readlinkAt, S, statAt } from "../../src/kernel/fs.ts";
import { getXattrAt, listXattrAt } from "../../src/kernel/xattr.ts";
import { unmount } from "../../src/kernel/mount.ts";
import { createContentStore } from "../../src/content/content.ts";
import { createEvents } from "../../src/events/events.ts";
import { createImages } from "../../src/images/images.ts";
import type { ImageUsers } from "../../src/images/types.ts";
import { createSnapshots } from "../../src/snapshots/snapshots.ts";
import type { LayerLimits } from "../../src/snapshots/types.ts";
import { migrations } from "../../src/store/schema.ts";
import { openStore } from "../../src/store/store.ts";
import { removeRoot } from "../remove-root.ts";

/** A directory of its own, removed with whatever is mounted in it. */
export function temporaryDirectory(name: string): { path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), `berth-${name}-`));
  const home = process.cwd();
  return {
    path,
    [Symbol.dispose]: () => {
      process.chdir(home);
      for (const line of readFileSync("/proc/self/mounts", "utf8").split("\n").toReversed()) {
        const target = line.split(" ")[1];
        if (target?.startsWith(`${path}/`) === true) unmount(target, { lazy: true });
      }
      removeRoot(path);
    },
  };
}

/** Content, snapshots and images on one root, as the engine builds them. */
export function openStorage(root: string, users: ImageUsers = { containersOf: () => [] }, layerLimits?: () => LayerLimits) {
  const store = openStore(join(root, "engine.db"), migrations);
  const content = createContentStore({ root: join(root, "content"), store, log: silent });
  const snapshots = createSnapshots({
    root: join(root, "snapshots"),
    store,
    log: silent,
    userNamespaces: createUserNamespaces(),
    ...(layerLimits && { layerLimits }),
  });
  const events = createEvents({ store, log: silent });
  const images = createImages({ store, content, snapshots, events, users, log: silent, registry: {} as never });
  return {
    store,
    content,
    snapshots,
    events,
    images,
    restore: async () => {
      await Promise.all([content.restore(), snapshots.restore()]);
      await images.restore();
      await snapshots.settled();
    },
    [Symbol.asyncDispose]: async () => {
      await snapshots.settled();
      snapshots[Symbol.dispose]();
      store[Symbol.dispose]();
    },
  };
}

export type Storage = ReturnType<typeof openStorage>;

export interface Listed {
  /** `file 644 0:0 "content"`, `dir 755 1:2`, `link -> target`, `char 600 0:0 1,3`, `whiteout`… */
  what: string;
  mtime: string;
  xattrs: Record<string, string>;
  nlink: number;
}

/** Every name below a directory and what it is, symlinks not followed. */
export function listTree(path: string): Record<string, Listed> {
  const result: Record<string, Listed> = {};
  const visit = (dir: number, prefix: string): void => {
    for (const name of [...readDirectory(dir)].sort()) {
      const stat = statAt(dir, name)!;
      const type = stat.mode & S.IFMT;
      const who = `${(stat.mode & 0o7777).toString(8)} ${stat.uid}:${stat.gid}`;
      const device = `${stat.rdevMajor},${stat.rdevMinor}`;
      const body = (): string => {
        const fd = openAt(dir, name, O.RDONLY | O.NOFOLLOW);
        try {
          return JSON.stringify(readFileSync(fd, "utf8"));
        } finally {
          closeFd(fd);
        }
      };
      const what = isWhiteout(stat)
        ? "whiteout"
        : type === S.IFDIR
          ? `dir ${who}`
          : type === S.IFREG
            ? `file ${who} ${body()}`
            : type === S.IFLNK
              ? `link ${stat.uid}:${stat.gid} -> ${readlinkAt(dir, name)}`
              : type === S.IFCHR
                ? `char ${who} ${device}`
                : type === S.IFBLK
                  ? `block ${who} ${device}`
                  : `fifo ${who}`;
      const xattrs = Object.fromEntries(listXattrAt(dir, name).map((key) => [key, getXattrAt(dir, name, key)!.toString("latin1")]));
      const shown = prefix + textOf(name);
      result[shown] = { what, xattrs, nlink: stat.nlink, mtime: `${stat.mtimeSeconds}.${String(stat.mtimeNanoseconds).padStart(9, "0")}` };
      if (!isDirectory(stat)) continue;
      const fd = openAt(dir, name, O.RDONLY | O.DIRECTORY | O.NOFOLLOW);
      try {
        visit(fd, `${shown}/`);
      } finally {
        closeFd(fd);
      }
    }
  };
  const fd = openAt(AT_FDCWD, Buffer.from(path).toString("latin1"), O.RDONLY | O.DIRECTORY);
  try {
    visit(fd, "");
  } finally {
    closeFd(fd);
  }
  return result;
}

/** `listTree` without times, link counts and xattrs. */
export function whatIs(path: string): Record<string, string> {
  return Object.fromEntries(Object.entries(listTree(path)).map(([name, { what }]) => [name, what]));
}

export function streamOf(bytes: Uint8Array): ReadableStream<Uint8Array> {
  return new Response(bytes as never).body as unknown as ReadableStream<Uint8Array>;
}
