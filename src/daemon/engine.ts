import { chmodSync, closeSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { createApiMeasure } from "../api/measure.ts";
import { createApiServer } from "../api/server.ts";
import { endpoints } from "../api/endpoints.ts";
import { createBuilder } from "../build/builder.ts";
import { createContainers } from "../containers/containers.ts";
import type { Containers } from "../containers/types.ts";
import { createContentStore } from "../content/content.ts";
import { createRegistryClient } from "../distribution/client.ts";
import { createEvents } from "../events/events.ts";
import { createImages } from "../images/images.ts";
import { createDiskSync } from "../kernel/disk-sync.ts";
import { createUserNamespaces } from "../kernel/user-namespace.ts";
import { tryLock } from "../kernel/lock.ts";
import { conflict } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { version } from "../lib/version.ts";
import { createLogs } from "../logs/logs.ts";
import { startHands } from "./hands.ts";
import { createNetworks } from "../networks/networks.ts";
import { createPlugins } from "../plugins/plugins.ts";
import { createRecords } from "../registry/records.ts";
import { restoreRecords } from "../registry/restore.ts";
import { createRuntime } from "../runtime/runtime.ts";
import { checkPassable } from "../sandbox/passable.ts";
import { createSandboxes } from "../sandbox/sandboxes.ts";
import { createSnapshots } from "../snapshots/snapshots.ts";
import type { LayerLimits } from "../snapshots/types.ts";
import { startCheckpoints } from "../store/checkpoint.ts";
import { migrations } from "../store/schema.ts";
import { openStore } from "../store/store.ts";
import { startCollector } from "../system/collector.ts";
import { engineId } from "../system/host.ts";
import { createSystem } from "../system/system.ts";
import type { Proxies } from "../system/types.ts";
import { createVolumes } from "../volumes/volumes.ts";
import { containerDefaults } from "./container-defaults.ts";
import { createHelperThreads } from "./helper-threads.ts";
import { listenAll } from "./listen.ts";
import type { EngineRegistry } from "./engine-registry.ts";
import { createLoopDelay } from "./loop-delay.ts";
import { createScrape, serveMetrics } from "./metrics.ts";
import type { DaemonOptions } from "./options.ts";
import { engineKey, enginePaths, type Paths } from "./paths.ts";
import { applyReload, reloadAttributes } from "./reload.ts";
import { storageSize } from "./storage-options.ts";
import { resolveRemap } from "./userns-remap.ts";
import { trimWhenIdle } from "./trim.ts";

export interface Engine {
  /**
   * Puts those of `next` into force that can change while it runs, or none of them, and tells clients.
   * @returns dockerd's names of settings that changed and need a restart
   * @throws EngineError where one of them is no good
   */
  reload(next: DaemonOptions): Promise<string[]>;
  /** What it is doing, for debugging. */
  debugState(): Promise<Record<string, unknown>>;
  /** Seconds that `stop` may take at the most, as things are now. */
  stopLimit(): number;
  stop(): Promise<void>;
}

/**
 * The composition root: builds every service in order of the layers, brings back what a former engine left, then listens.
 * @throws EngineError conflict where another engine holds one of the roots
 */
export async function startEngine(options: DaemonOptions, proxies: Proxies, log: Logger): Promise<Engine> {
  await using stack = new AsyncDisposableStack();
  const paths = makeRoots(options);
  for (const lock of paths.locks) stack.use(takeLock(lock));
  const key = engineKey(paths.dataRoot);

  const userNamespaces = stack.use(createUserNamespaces());
  const idMap = await resolveRemap(options.usernsRemap, log);
  const withIds = idMap === undefined ? {} : { idMap };
  const store = stack.use(openStore(paths.database, migrations));
  stack.use(startCheckpoints(store, log));
  const events = createEvents({ store, log });
  // One for both: the files of an image are synced together.
  const disk = stack.use(createDiskSync());
  const content = createContentStore({ root: paths.content, store, log, disk });
  const layerLimits = (): LayerLimits => ({ bytes: options.maxLayerSize || Number.MAX_SAFE_INTEGER, entries: options.maxLayerEntries || Infinity });
  const snapshots = stack.use(createSnapshots({ root: paths.snapshots, store, log, disk, userNamespaces, layerLimits }));
  if (storageSize(options.storageOpts) > 0) snapshots.checkLimit();
  if (idMap !== undefined) {
    await snapshots.checkIdMap(idMap);
    checkPassable(paths.execRoot);
  }
  const registry = createRegistryClient({
    insecure: options.insecureRegistries,
    mirrors: options.registryMirrors,
    mirrorsOf: options.mirrors,
    downloadRetries: () => options.maxDownloadAttempts,
    log,
  });
  // images/ lies below containers/: it asks who uses an image through this, once containers are there.
  let containers: Containers;
  const users = { containersOf: (image: Parameters<Containers["usingImage"]>[0]) => containers.usingImage(image) };
  // What an engine's registry holds stays, also while it isn't served.
  const held = createRecords(store, content);
  const images = createImages({ store, content, snapshots, registry, events, users, limits: options, log });
  const plugins = createPlugins({ folders: { sockets: options.pluginSocketDir, specs: options.pluginSpecDirs }, log });
  const volumes = createVolumes({ root: paths.volumes, store, events, log, plugins, trees: snapshots, ...withIds });
  const logs = createLogs({ log });
  const hands = stack.use(startHands());
  const networks = createNetworks({
    ...{ store, events, log, paths, plugins, systemBus: process.env["DBUS_SYSTEM_BUS_ADDRESS"] },
    options: { ...options, engineKey: key, engineId: engineId(store) },
    links: hands.links,
    removeMountedFile: (path) => snapshots.unmount(path, { file: true }),
  });
  const runtime = await createRuntime({ paths, log, options: { ...options, engineKey: key } });
  stack.defer(() => runtime.close());
  const { spawner } = hands;
  const sandboxes = createSandboxes({ paths, snapshots, networks, runtime, spawner, log });
  containers = createContainers({
    store,
    events,
    images,
    snapshots,
    networks,
    volumes,
    logs,
    sandboxes,
    runtime,
    paths,
    userNamespaces,
    log,
    options: Object.assign(containerDefaults(options), withIds),
  });
  const builder = createBuilder({ store, images, snapshots, sandboxes, events, paths, log, ...withIds });
  const system = createSystem({
    ...{ store, images, containers, networks, volumes, snapshots, runtime, builder, events, proxies, paths, log },
    userns: idMap !== undefined,
    options,
  });

  await Promise.all([content.restore(), snapshots.restore(), volumes.restore()]);
  await restoreRecords(content, held, log);
  await images.restore();
  const running = await containers.adoptAll();
  await volumes.settle();
  const plain = idMap === undefined ? [] : containers.list({ all: true }).filter((each) => each.idMap === undefined && each.host.UsernsMode !== "host");
  if (plain.length > 0) log.warn("containers made before --userns-remap was set keep the host's ids", { count: plain.length });
  await networks.restore(running);
  let stopsAll = false;
  // also where the start fails later, on a socket that is taken maybe: nobody would take bridges and rules away
  stack.defer(() => networks.close({ containersLive: !stopsAll && containers.list({}).length > 0 }));
  await sandboxes.sweep(running);
  await builder.restore();

  const loop = stack.use(createLoopDelay());
  const raiseHelpers = createHelperThreads(log);
  const measure = createApiMeasure(() => {
    loop.touch();
    raiseHelpers();
  });
  let served: EngineRegistry | undefined;
  const scrape = createScrape(
    (out) => system.writeMetrics(out),
    measure.write,
    loop.write,
    (out) => served?.writeMetrics(out),
  );
  const server = createApiServer({
    measure,
    services: { metrics: { scrape }, containers, images, networks, volumes, registry, builder, events, system, paths, log },
    endpoints,
    minApiVersion: options.minApiVersion,
    version,
    log,
  });
  stack.defer(() => server.close());
  await listenAll(server, options, log);
  const ownRegistry = options.registry === "" ? undefined : await import("./engine-registry.ts");
  served = await ownRegistry?.serveEngineRegistry({
    options,
    secretPath: paths.registrySecret,
    content,
    records: held,
    log,
  });
  if (served !== undefined) stack.use(served);
  if (options.metricsAddr !== "") stack.use(await serveMetrics(options.metricsAddr, scrape, log));
  await containers.resume();
  log.info("ready", { version, hosts: options.hosts.join(" "), running: running.size });

  stack.use(startCollector({ images, builder, containers, snapshots, dataRoot: paths.dataRoot, settings: options, log }));
  stack.use(trimWhenIdle(log));
  const resources = stack.move();
  return {
    reload: async (next) => {
      const useRegistries = registry.configure({ insecure: next.insecureRegistries, mirrors: next.registryMirrors, mirrorsOf: next.mirrors });
      const useRuntimes = await runtime.configure(next);
      const useRegistry = await served?.reload();
      useRegistries();
      useRegistry?.();
      useRuntimes();
      const waiting = applyReload(options, next);
      events.emit(
        "daemon",
        "reload",
        system.id,
        reloadAttributes(options, {
          defaultRuntime: runtime.defaultName,
          cgroupnsMode: options.cgroupnsMode ?? (runtime.cgroups.version === 2 ? "private" : "host"),
        }),
      );
      return waiting;
    },
    debugState: () => system.debugState(),
    stopLimit: () => {
      const own = options.liveRestore ? [] : containers.list().map(({ config }) => config.StopTimeout ?? 0);
      const all = options.liveRestore ? [0] : [options.shutdownTimeout, ...own];
      // -1 is no limit: a day stands for it
      return 30 + (all.some((seconds) => seconds < 0) ? 86_400 : Math.max(...all));
    },
    stop: async () => {
      stopsAll = !options.liveRestore;
      await server.close();
      await containers.close({ stopAll: stopsAll, timeoutSeconds: options.shutdownTimeout });
      await resources.disposeAsync();
    },
  };
}

function makeRoots(options: DaemonOptions): Paths {
  const paths = enginePaths(options.dataRoot, options.execRoot);
  // Others may pass through the roots (to the API's socket) and list nothing.
  for (const root of [paths.dataRoot, paths.execRoot]) mkdirSync(root, { recursive: true, mode: 0o711 });
  // What containers and images hold is theirs: mountinfo tells everyone the paths, and setuid programs of an image would be a way to root (CVE-2021-41091).
  const { content, snapshots, volumes, containers, cache, tmp, exits, runtimeRoot, namespaces } = paths;
  for (const folder of [content, snapshots, volumes, containers, cache, tmp, exits, runtimeRoot, namespaces]) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    chmodSync(folder, 0o700);
  }
  return paths;
}

function takeLock(path: string): Disposable {
  const fd = openSync(path, "a", 0o600);
  if (!tryLock(fd)) {
    closeSync(fd);
    throw conflict(`another engine already uses ${dirname(path)}: stop it, or start this one with another --data-root and --exec-root`);
  }
  return { [Symbol.dispose]: () => closeSync(fd) };
}
