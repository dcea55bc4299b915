import { createHash } from "node:crypto";
import { isAbsolute, normalize } from "node:path";
import { EngineError, internal, invalidArgument, messageOf, notFound, prefixed } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import type { Plugin, Plugins } from "../plugins/types.ts";
import type { VolumeDriver, VolumeDrivers, VolumeState } from "./driver.ts";

/** Questions that change nothing: nobody waits for those as long as for a disk to be attached. */
const askMs = 10_000;
/** A list that is longer than this isn't looked at to its end. */
const mostVolumes = 10_000;
const longestName = 255;

/** `local`, and the plugins that say they are a `VolumeDriver`. */
export function createVolumeDrivers({ local, plugins, log }: { local: VolumeDriver; plugins: Plugins | undefined; log: Logger }): VolumeDrivers {
  const made = new Map<Plugin, VolumeDriver>();
  const driverOf = async (plugin: Plugin): Promise<VolumeDriver> => {
    const present = made.get(plugin) ?? createRemoteDriver(plugin, await scopeOf(plugin, log));
    made.set(plugin, present);
    return present;
  };
  return {
    local,
    async get(name) {
      if (name === "local") return local;
      try {
        if (plugins === undefined) throw notFound(`plugin ${JSON.stringify(name)} not found`);
        return await driverOf(await plugins.get(name, "VolumeDriver"));
      } catch (error) {
        throw prefixed(`error looking up volume plugin ${name}: `, error);
      }
    },
    async listRemote() {
      const found = (await plugins?.all("VolumeDriver")) ?? { plugins: [], warnings: [] };
      const lists = await Promise.all(
        found.plugins.map(async (plugin) => {
          try {
            const driver = await driverOf(plugin);
            return (await listVolumes(plugin)).map((each) => ({ driver, ...each }));
          } catch (error) {
            found.warnings.push(`list ${plugin.name}: ${messageOf(error)}`);
            return [];
          }
        }),
      );
      return { volumes: lists.flat(), warnings: found.warnings };
    },
    names: () => ["local", ...(plugins?.known("VolumeDriver") ?? [])].sort(),
  };
}

/** Not every plugin knows the call: then it is local, as Docker has it. */
async function scopeOf(plugin: Plugin, log: Logger): Promise<"local" | "global"> {
  try {
    const { Capabilities } = await plugin.call("VolumeDriver.Capabilities", {}, { deadlineMs: askMs });
    const scope = (Capabilities as { Scope?: unknown } | null | undefined)?.Scope;
    return typeof scope === "string" && scope.toLowerCase() === "global" ? "global" : "local";
  } catch (error) {
    log.debug("a volume plugin doesn't tell its capabilities", { plugin: plugin.name, error: messageOf(error) });
    return "local";
  }
}

/** A volume driver that is a plugin. Under which id it mounted something for a user can be told from the user alone, so that any engine can unmount it. */
export function createRemoteDriver(plugin: Plugin, scope: "local" | "global"): VolumeDriver {
  const call = (verb: string, request: object, options?: Parameters<Plugin["call"]>[2]): Promise<Record<string, unknown>> =>
    plugin.call(`VolumeDriver.${verb}`, request, options);
  const inspect = async (name: string): Promise<VolumeState | undefined> => {
    try {
      const { Volume } = await call("Get", { Name: name }, { deadlineMs: askMs });
      return Volume === null || typeof Volume !== "object" ? undefined : stateOf(Volume as Record<string, unknown>);
    } catch (error) {
      // what the plugin answers, whatever it is, means that it has none (moby daemon/volume/service, lookupVolume)
      if (error instanceof EngineError && error.kind === "internal") return undefined;
      throw error;
    }
  };
  return {
    name: plugin.name,
    scope,

    validate(name) {
      if (!isVolumeName(name))
        throw invalidArgument(`create ${name}: invalid volume name ${JSON.stringify(name)}: it must have 1 to 255 characters, no "/" among them`);
    },

    async create({ name, options }) {
      const present = await inspect(name);
      if (present !== undefined) return present.mountpoint ?? "";
      await call("Create", { Name: name, Opts: options });
      // a plugin may mount only when it is used, and not know the path before
      return (await inspect(name))?.mountpoint ?? "";
    },

    async remove({ name }) {
      if ((await inspect(name)) !== undefined) await call("Remove", { Name: name });
    },

    async mount({ name }, user) {
      const { Mountpoint } = await call("Mount", { Name: name, ID: mountId(name, user) });
      const path = pathOf(Mountpoint);
      if (path === undefined) throw internal(`VolumeDriver.Mount: plugin ${plugin.name} gave no path for volume ${name}`);
      return path;
    },

    async unmount({ name }, user) {
      await call("Unmount", { Name: name, ID: mountId(name, user) });
    },

    adopt() {},

    inspect: ({ name }) => inspect(name),
  };
}

/** 64 hex digits, as Docker's are. */
const mountId = (volume: string, user: string): string => createHash("sha256").update(`${volume}\0${user}`).digest("hex");

// eslint-disable-next-line no-control-regex
const isVolumeName = (name: string): boolean => name.length > 0 && name.length <= longestName && !/[\0-\x1f/\x7f]/.test(name) && name !== "." && name !== "..";

/** @returns undefined for what isn't an absolute path */
function pathOf(value: unknown): string | undefined {
  if (typeof value !== "string" || value.length > 4095 || value.includes("\0") || !isAbsolute(value)) return undefined;
  return normalize(value).replace(/(.)\/+$/, "$1");
}

function stateOf({ Mountpoint, CreatedAt, Status }: Record<string, unknown>): VolumeState {
  const mountpoint = pathOf(Mountpoint);
  const created = typeof CreatedAt === "string" && !Number.isNaN(Date.parse(CreatedAt)) ? CreatedAt : undefined;
  const status = typeof Status === "object" && Status !== null && !Array.isArray(Status) ? (Status as Record<string, unknown>) : undefined;
  return { ...(mountpoint && { mountpoint }), ...(created && { created }), ...(status && { status }) };
}

async function listVolumes(plugin: Plugin): Promise<{ name: string; state: VolumeState }[]> {
  const { Volumes } = await plugin.call("VolumeDriver.List", {}, { deadlineMs: askMs, retry: false });
  if (!Array.isArray(Volumes)) return [];
  return Volumes.slice(0, mostVolumes).flatMap((each: unknown) => {
    const volume = (each ?? {}) as Record<string, unknown>;
    const name = volume["Name"];
    return typeof name === "string" && isVolumeName(name) ? [{ name, state: stateOf(volume) }] : [];
  });
}
