import { invalidArgument, messageOf, notFound, unavailable } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { callPlugin, defaultTimes, type PluginTimes } from "./client.ts";
import { findPlugin, listPlugins, type PluginAddress, type PluginFolders } from "./discovery.ts";
import type { Plugin, Plugins } from "./types.ts";

export interface PluginsDeps {
  folders: PluginFolders;
  log: Logger;
  times?: PluginTimes;
}

/** How long a plugin that nobody asked for by name may hold up a listing. */
const lookMs = 5000;
/** How long one that did so isn't asked again: every `run -v` would wait for it. */
const restMs = 30_000;
/** A manifest names a few subsystems. */
const mostKinds = 64;

/** See Plugins. The handshake (`Plugin.Activate`) comes with the first use; what it said is kept while the plugin stays where it was. */
export function createPlugins({ folders, log, times = defaultTimes }: PluginsDeps): Plugins {
  const active = new Map<string, { address: string; plugin: Plugin }>();
  const silent = new Map<string, { until: number; why: string }>();

  const deadlineMs = Math.min(lookMs, times.callMs);

  const activate = async (name: string, address: PluginAddress, look: boolean): Promise<Plugin> => {
    const answer = await callPlugin(name, address, times, "Plugin.Activate", undefined, look ? { deadlineMs, retry: false } : {});
    const kinds = Array.isArray(answer["Implements"]) ? answer["Implements"].filter((each) => typeof each === "string").slice(0, mostKinds) : [];
    const plugin: Plugin = {
      name,
      kinds: new Set(kinds),
      call: (method, request, options) => callPlugin(name, address, times, method, request, options),
    };
    silent.delete(name);
    active.set(name, { address: JSON.stringify(address), plugin });
    log.debug("plugin activated", { plugin: name, implements: kinds.join(" ") });
    return plugin;
  };

  const find = async (name: string, look: boolean): Promise<Plugin> => {
    const address = findPlugin(folders, name);
    const kept = active.get(name);
    // one that is gone for a moment, as in a restart, is expected back
    if (kept !== undefined && (address === undefined || kept.address === JSON.stringify(address))) return kept.plugin;
    if (address === undefined) throw notFound(`plugin ${JSON.stringify(name)} not found`);
    return await activate(name, address, look);
  };

  /** As `find`, for who asks for nobody in particular. */
  const look = async (name: string): Promise<Plugin> => {
    const { until = 0, why = "" } = silent.get(name) ?? {};
    const startedAt = performance.now();
    if (startedAt < until) throw unavailable(why);
    try {
      return await find(name, true);
    } catch (error) {
      const now = performance.now();
      if (now - startedAt > deadlineMs / 2) silent.set(name, { until: now + restMs, why: messageOf(error) });
      throw error;
    }
  };

  return {
    async get(name, kind) {
      const plugin = await find(name, false);
      if (!plugin.kinds.has(kind)) throw invalidArgument(`plugin ${JSON.stringify(name)} does not implement the requested driver (${kind})`);
      return plugin;
    },
    async all(kind) {
      const warnings: string[] = [];
      const found = await Promise.all(
        listPlugins(folders).map(async (name) => {
          try {
            return await look(name);
          } catch (error) {
            warnings.push(messageOf(error));
            return undefined;
          }
        }),
      );
      return { plugins: found.filter((plugin) => plugin?.kinds.has(kind) === true) as Plugin[], warnings };
    },
    known: (kind) => [...active].flatMap(([name, { plugin }]) => (plugin.kinds.has(kind) ? [name] : [])).sort(),
  };
}
