import { chown, mkdir, rename, rm } from "node:fs/promises";
import { mount as mountFilesystem, MS, unmount as unmountFilesystem } from "../kernel/mount.ts";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import { rootOnHost } from "../oci/id-map.ts";
import { dirname } from "node:path";
import type { VolumeDriver } from "./driver.ts";
import { parseLocalOptions } from "./options.ts";
import type { VolumeRecord } from "./types.ts";

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

/** `<root>/<name>/_data`, with what `type`, `device` and `o` say mounted on it while a container runs with it. */
export function createLocalDriver(): VolumeDriver {
  /** Of volumes with options: who it is mounted for now. */
  const users = new Map<string, Set<string>>();
  return {
    name: "local",
    scope: "local",

    validate(name, options) {
      checkName(name);
      parseLocalOptions(name, options);
    },

    async create({ mountpoint, idMap }) {
      await mkdir(mountpoint, { recursive: true, mode: 0o755 });
      const { uid, gid } = rootOnHost(idMap);
      if (idMap !== undefined) await chown(mountpoint, uid, gid);
      return mountpoint;
    },

    async remove({ name, mountpoint }) {
      // Whatever an option mounted must not be deleted with the directory.
      unmountFilesystem(mountpoint, { lazy: true });
      users.delete(name);
      await rm(dirname(mountpoint), { recursive: true, force: true });
    },

    async rename(before, after) {
      // mounts, those of running containers among them, hold the directory itself
      await rename(dirname(before.mountpoint), dirname(after.mountpoint));
      const present = users.get(before.name);
      users.delete(before.name);
      if (present !== undefined) users.set(after.name, present);
    },

    async mount(record, user) {
      const { name, mountpoint, options } = record;
      if (parseLocalOptions(name, options) === undefined) return mountpoint;
      const present = users.get(name) ?? new Set();
      if (present.size === 0) mountOptions(record);
      users.set(name, present.add(user));
      return mountpoint;
    },

    async unmount({ name, mountpoint }, user) {
      const present = users.get(name);
      if (present === undefined || !present.delete(user) || present.size > 0) return;
      unmountFilesystem(mountpoint, { lazy: true });
      users.delete(name);
    },

    adopt({ name, options }, user) {
      if (parseLocalOptions(name, options) !== undefined) users.set(name, (users.get(name) ?? new Set()).add(user));
    },

    inspect: async () => ({}),
  };
}

function checkName(name: string): void {
  if (name.length <= 255 && namePattern.test(name)) return;
  throw invalidArgument(
    `create ${name}: ${JSON.stringify(name)} includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. ` +
      "If you intended to pass a host directory, use absolute path",
  );
}

/** Mounts what the options say. @throws EngineError invalidArgument */
function mountOptions({ name, mountpoint, options }: VolumeRecord): void {
  const local = parseLocalOptions(name, options);
  if (local === undefined) return;
  const { device, type, flags, data } = local;
  // One that an engine left behind when it died would be hidden below ours.
  unmountFilesystem(mountpoint, { lazy: true });
  try {
    mountFilesystem(device, mountpoint, type, flags, data);
    // A bind takes its other flags only in a second step (mount(2), "Creating a bind mount").
    const more = flags & ~(MS.BIND | MS.REC);
    if ((flags & MS.BIND) !== 0 && more !== 0) mountFilesystem("none", mountpoint, "none", flags | MS.REMOUNT);
  } catch (error) {
    unmountFilesystem(mountpoint, { lazy: true });
    const what = `failed to mount local volume: mount ${device}:${mountpoint}`;
    throw invalidArgument(`error while mounting volume '${mountpoint}': ${what}: ${messageOf(error)}`, error);
  }
}
