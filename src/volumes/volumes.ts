import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Events } from "../events/types.ts";
import { realtimeNano } from "../kernel/clock.ts";
import { MS, mount as mountFilesystem, unmount as unmountFilesystem } from "../kernel/mount.ts";
import { conflict, invalidArgument, messageOf, notFound } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { KeyedMutex } from "../lib/mutex.ts";
import { formatNano, parseRfc3339, parseTimestamp } from "../lib/time.ts";
import type { Store } from "../store/store.ts";
import { copyInto } from "./copy.ts";
import { parseLocalOptions } from "./options.ts";
import type { VolumeRecord, Volumes } from "./types.ts";
import { treeSize } from "./usage.ts";

export interface VolumesDeps {
  /** `<data-root>/volumes`. */
  root: string;
  store: Store;
  events: Events;
  log: Logger;
}

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

interface Entry {
  record: VolumeRecord;
  /** Containers that run with it. */
  active: Set<string>;
  /** What its options say is mounted now. */
  mounted: boolean;
}

/** The `local` driver: `<root>/<name>/_data`, with `type`, `device` and `o` mounted on it while a container runs with it. */
export function createVolumes({ root, store, events, log }: VolumesDeps): Volumes {
  const entries = new Map<string, Entry>();
  const mutex = new KeyedMutex();
  const directory = (name: string): string => join(root, name);
  const stagingOf = (name: string): string => join(directory(name), "_copy");
  const setPhase = store.db.query("UPDATE volumes SET phase = ? WHERE name = ?");

  const find = (name: string): Entry => {
    const entry = entries.get(name);
    if (entry === undefined) throw notFound(`get ${name}: no such volume`);
    return entry;
  };

  const usersOf = (name: string): string[] =>
    store.db
      .query<{ container: string }, [string]>("SELECT container FROM container_volumes WHERE volume = ?")
      .all(name)
      .map((row) => row.container);

  const createVolume: Volumes["create"] = async (options) => {
    const driver = options.driver || "local";
    if (driver !== "local") throw notFound(`error looking up volume plugin ${driver}: plugin "${driver}" not found`);
    const name = options.name || newName();
    if (name.length > 255 || !namePattern.test(name)) {
      throw invalidArgument(
        `create ${name}: ${JSON.stringify(name)} includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. ` +
          "If you intended to pass a host directory, use absolute path",
      );
    }
    const asked = options.options ?? {};
    parseLocalOptions(name, asked);
    using _lock = await mutex.lock(name);
    const existing = entries.get(name);
    if (existing !== undefined) {
      if (Object.keys(asked).length > 0 && !sameOptions(asked, existing.record.options))
        throw conflict(`create ${name}: a volume named ${name} already exists with other options`);
      return existing.record;
    }
    const record: VolumeRecord = {
      name,
      driver,
      mountpoint: join(directory(name), "_data"),
      created: formatNano(realtimeNano()).replace(/\.\d+Z$/, "Z"),
      labels: options.labels ?? {},
      options: asked,
      anonymous: options.anonymous ?? !options.name,
    };
    store.db.query("INSERT INTO volumes (name, driver, record, phase) VALUES (?, ?, ?, 'intent')").run(name, driver, JSON.stringify(record));
    try {
      await mkdir(record.mountpoint, { recursive: true, mode: 0o755 });
    } catch (error) {
      store.db.query("DELETE FROM volumes WHERE name = ?").run(name);
      throw error;
    }
    store.tx(() => {
      setPhase.run("ready", name);
      store.afterCommit(() => void entries.set(name, { record, active: new Set(), mounted: false }));
      events.emit("volume", "create", name, { driver });
    });
    return record;
  };

  const removeFiles = async (name: string): Promise<void> => {
    // Whatever an option mounted must not be deleted with the directory.
    unmountFilesystem(join(directory(name), "_data"), { lazy: true });
    await rm(directory(name), { recursive: true, force: true });
  };

  const removeVolume = async (name: string, options: { force?: boolean } = {}): Promise<void> => {
    using _lock = await mutex.lock(name);
    const entry = entries.get(name);
    if (entry === undefined) {
      if (options.force === true) return;
      throw notFound(`get ${name}: no such volume`);
    }
    const users = usersOf(name);
    if (users.length > 0) throw conflict(`remove ${name}: volume is in use - [${users.join(", ")}]`);
    setPhase.run("deleting", name);
    entries.delete(name);
    await removeFiles(name);
    forget(name, entry.record.driver);
  };

  /** The last step of a removal. */
  const forget = (name: string, driver: string): void =>
    store.tx(() => {
      store.db.query("DELETE FROM volumes WHERE name = ?").run(name);
      events.emit("volume", "destroy", name, { driver });
    });

  const isEmpty = async ({ record }: Entry): Promise<boolean> => (await readdir(record.mountpoint)).length === 0;

  /** Mounts what the options say, unless it is mounted. */
  const ensureMounted = (entry: Entry): void => {
    const { name, mountpoint, options } = entry.record;
    const local = parseLocalOptions(name, options);
    if (local === undefined || entry.mounted) return;
    // One that an engine left behind when it died would be hidden below ours.
    unmountFilesystem(mountpoint, { lazy: true });
    try {
      mountFilesystem(local.device, mountpoint, local.type, local.flags, local.data);
      // A bind takes its other flags only in a second step (mount(2), "Creating a bind mount").
      if ((local.flags & MS.BIND) !== 0 && (local.flags & ~(MS.BIND | MS.REC)) !== 0) mountFilesystem("none", mountpoint, "none", local.flags | MS.REMOUNT);
    } catch (error) {
      unmountFilesystem(mountpoint, { lazy: true });
      throw invalidArgument(
        `error while mounting volume '${mountpoint}': failed to mount local volume: mount ${local.device}:${mountpoint}: ${messageOf(error)}`,
        error,
      );
    }
    entry.mounted = true;
  };

  const releaseMount = (entry: Entry): void => {
    if (!entry.mounted || entry.active.size > 0) return;
    unmountFilesystem(entry.record.mountpoint, { lazy: true });
    entry.mounted = false;
  };

  return {
    create: createVolume,
    list: () => [...entries.values()].map((entry) => entry.record).sort((a, b) => (a.name < b.name ? -1 : 1)),
    get: (name) => find(name).record,
    remove: removeVolume,
    usersOf,
    discard(names) {
      const gone = [...new Set(names)].flatMap((name) => entries.get(name) ?? []).filter(({ record }) => record.anonymous && usersOf(record.name).length === 0);
      for (const { record } of gone) {
        setPhase.run("deleting", record.name);
        store.afterCommit(() => void entries.delete(record.name));
      }
      return async () => {
        for (const { record } of gone) {
          await removeFiles(record.name);
          forget(record.name, record.driver);
        }
      };
    },
    isEmpty: async (name) => {
      const entry = find(name);
      return parseLocalOptions(name, entry.record.options) === undefined && (await isEmpty(entry));
    },
    async copyUp(name, sourceDirectory) {
      using _lock = await mutex.lock(name);
      const entry = find(name);
      if (parseLocalOptions(name, entry.record.options) !== undefined || !(await isEmpty(entry))) return;
      setPhase.run("copying", name);
      await copyInto(sourceDirectory, entry.record.mountpoint, stagingOf(name));
      setPhase.run("ready", name);
    },
    async mount(name, container, how) {
      using _lock = await mutex.lock(name);
      const entry = find(name);
      ensureMounted(entry);
      entry.active.add(container);
      events.emit("volume", "mount", name, {
        driver: entry.record.driver,
        container,
        ...(how === undefined ? {} : { destination: how.destination, "read/write": String(!how.readOnly), propagation: "" }),
      });
      return entry.record.mountpoint;
    },
    async unmount(name, container) {
      using _lock = await mutex.lock(name);
      const entry = entries.get(name);
      if (entry === undefined || !entry.active.delete(container)) return;
      releaseMount(entry);
      events.emit("volume", "unmount", name, { driver: entry.record.driver, container });
    },
    adopt(name, container) {
      const entry = entries.get(name);
      if (entry === undefined) return;
      entry.active.add(container);
      entry.mounted = parseLocalOptions(name, entry.record.options) !== undefined;
    },
    usage: (name) => treeSize(find(name).record.mountpoint),
    async prune({ all, filters = {} }) {
      const wanted = pruneTest(filters, all === true);
      const deleted: string[] = [];
      let spaceReclaimed = 0;
      for (const { record } of Array.from(entries.values())) {
        if (!wanted(record) || usersOf(record.name).length > 0) continue;
        const bytes = await treeSize(record.mountpoint);
        try {
          await removeVolume(record.name);
        } catch (error) {
          // Taken into use meanwhile.
          log.debug("a volume stays", { volume: record.name, error: messageOf(error) });
          continue;
        }
        deleted.push(record.name);
        spaceReclaimed += bytes;
      }
      events.emit("volume", "prune", "", { reclaimed: String(spaceReclaimed) });
      return { deleted, spaceReclaimed };
    },
    async restore() {
      const rows = store.db.query<{ name: string; record: string; phase: string }, []>("SELECT name, record, phase FROM volumes").all();
      for (const row of rows) {
        if (row.phase === "copying") {
          await rm(stagingOf(row.name), { recursive: true, force: true });
          setPhase.run("ready", row.name);
        }
        if (row.phase === "ready" || row.phase === "copying") {
          entries.set(row.name, { record: JSON.parse(row.record) as VolumeRecord, active: new Set(), mounted: false });
          continue;
        }
        await removeFiles(row.name);
        store.db.query("DELETE FROM volumes WHERE name = ?").run(row.name);
      }
    },
  };
}

const newName = (): string => Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("hex");

function sameOptions(a: Record<string, string>, b: Record<string, string>): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}

/** Filters `label`, `label!`, `until` and `all`; without `all` only anonymous volumes go (API 1.42). */
function pruneTest(filters: Record<string, string[]>, all: boolean): (record: VolumeRecord) => boolean {
  for (const name of Object.keys(filters)) if (!["label", "label!", "all", "until"].includes(name)) throw invalidArgument(`invalid filter '${name}'`);
  const everything = all || (filters["all"] ?? []).some((value) => value === "true" || value === "1");
  const until = filters["until"]?.[0];
  const before = until === undefined ? undefined : parseTimestamp(until, realtimeNano());
  const has = (labels: Record<string, string>, wanted: string): boolean => {
    const [key = "", ...rest] = wanted.split("=");
    return Object.hasOwn(labels, key) && (rest.length === 0 || labels[key] === rest.join("="));
  };
  return ({ anonymous, labels, created }) =>
    (everything || anonymous) &&
    (before === undefined || (parseRfc3339(created) ?? 0n) < before) &&
    (filters["label"] ?? []).every((label) => has(labels, label)) &&
    !((filters["label!"] ?? []).length > 0 && (filters["label!"] ?? []).every((label) => has(labels, label)));
}
