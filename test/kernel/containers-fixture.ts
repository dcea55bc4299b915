import type { BuildOptions } from "../../src/build/types.ts";
import { cpSync, existsSync, mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { createContainers } from "../../src/containers/containers.ts";
import type { Containers, CreateOptions } from "../../src/containers/types.ts";
import { createContentStore } from "../../src/content/content.ts";
import { enginePaths, type Paths } from "../../src/daemon/paths.ts";
import { createRegistryClient } from "../../src/distribution/client.ts";
import { createEvents } from "../../src/events/events.ts";
import type { EngineEvent, Events } from "../../src/events/types.ts";
import { createImages } from "../../src/images/images.ts";
import type { Images } from "../../src/images/types.ts";
import { createUserNamespaces } from "../../src/kernel/user-namespace.ts";
import { createLogger, silent } from "../../src/lib/log.ts";
import { createLogs } from "../../src/logs/logs.ts";
import { createPlugins } from "../../src/plugins/plugins.ts";
import { createNetworks } from "../../src/networks/networks.ts";
import { startHands } from "../../src/daemon/hands.ts";
import { createRuntime } from "../../src/runtime/runtime.ts";
import type { Runtimes } from "../../src/runtime/types.ts";
import { createSandboxes } from "../../src/sandbox/sandboxes.ts";
import type { Sandboxes } from "../../src/sandbox/types.ts";
import type { Snapshots } from "../../src/snapshots/types.ts";
import { createSnapshots } from "../../src/snapshots/snapshots.ts";
import { migrations } from "../../src/store/schema.ts";
import { openStore, type Store } from "../../src/store/store.ts";
import type { Volumes } from "../../src/volumes/types.ts";
import { createVolumes } from "../../src/volumes/volumes.ts";
import { removeRoot } from "../remove-root.ts";
import { networkDefaults } from "./network-lab.ts";

const applets = "sh true false echo cat sleep ls stty id env pwd ps kill dd head mount touch mkdir hostname test wc grep seq printf chown trap".split(" ");

/** The services of one engine without its API, on a root of its own; containers have no network. */
export interface TestEngine {
  root: string;
  paths: Paths;
  store: Store;
  events: Events;
  seen: EngineEvent[];
  images: Images;
  snapshots: Snapshots & Disposable;
  volumes: Volumes;
  runtime: Runtimes;
  sandboxes: Sandboxes;
  containers: Containers;
  create(args: string[], more?: { name?: string; config?: CreateOptions["config"]; host?: CreateOptions["host"] }): Promise<string>;
  /** As an engine that is killed: nothing is told, only its own handles go. */
  abandon(): Promise<void>;
  /** Removes all containers and everything below the root. */
  close(): Promise<void>;
}

/** `at`: the root of an earlier one, as an engine finds it when it starts again. */
export async function createEngine(options: { at?: string } = {}): Promise<TestEngine> {
  const root = options.at ?? mkdtempSync(`${tmpdir()}/berth-containers-`);
  const engineKey = `c${root.slice(-5).toLowerCase()}`;
  const paths = enginePaths(`${root}/data`, `${root}/run`);
  for (const folder of [paths.content, paths.snapshots, paths.volumes, paths.containers, paths.cache, paths.tmp]) mkdirSync(folder, { recursive: true });
  for (const folder of [paths.bundles, paths.namespaces, paths.exits, paths.runtimeRoot]) mkdirSync(folder, { recursive: true });
  const store = openStore(paths.database, migrations);
  const log = process.env["BERTH_TEST_LOG"] === undefined ? silent : createLogger({ level: () => "debug", write: (line) => void process.stderr.write(line) });
  const events = createEvents({ store, log });
  const content = createContentStore({ root: paths.content, store, log });
  const userNamespaces = createUserNamespaces();
  const snapshots = createSnapshots({ root: paths.snapshots, store, log, userNamespaces });
  const registry = createRegistryClient({ insecure: [], mirrors: [], log });
  const users = { containersOf: (image: Parameters<Containers["usingImage"]>[0]) => containers.usingImage(image) };
  const images = createImages({ store, content, snapshots, registry, events, users, log });
  const volumes = createVolumes({ root: paths.volumes, store, events, log, trees: snapshots });
  const network = { ...networkDefaults, iptables: false, engineKey };
  const hands = startHands();
  const networks = createNetworks({
    links: hands.links,
    store,
    events,
    log,
    paths,
    plugins: createPlugins({ folders: { sockets: `${paths.execRoot}/plugins`, specs: [] }, log }),
    options: network,
    removeMountedFile: (path) => snapshots.unmount(path, { file: true }),
  });
  const runtime = await createRuntime({
    paths,
    log,
    options: {
      defaultRuntime: "",
      runtimes: {},
      cgroupParent: "",
      initPath: "",
      cpuRtPeriod: 0,
      cpuRtRuntime: 0,
      cgroupMounts: true,
      cdiSpecDirs: [`${root}/cdi`],
      engineKey,
    },
  });
  const sandboxes = createSandboxes({ paths, snapshots, networks, runtime, spawner: hands.spawner, log });
  const containers = createContainers({
    store,
    events,
    images,
    snapshots,
    networks,
    volumes,
    logs: createLogs({ log }),
    sandboxes,
    runtime,
    paths,
    userNamespaces,
    log,
    options: { logDriver: "json-file", logOpts: {}, ulimits: [], init: false, shutdownTimeout: 10 },
  });
  await Promise.all([content.restore(), snapshots.restore(), volumes.restore()]);
  const running = await containers.adoptAll();
  await sandboxes.sweep(running);
  await containers.resume();
  if (options.at === undefined) await makeImage(snapshots, store, images);
  const seen: EngineEvent[] = [];
  events.subscribe((event) => void seen.push(event));

  const detach = async (): Promise<void> => {
    await containers.close({ stopAll: false, timeoutSeconds: 0 });
    await networks.close({ containersLive: true });
    hands[Symbol.dispose]();
  };
  return {
    root,
    paths,
    store,
    events,
    seen,
    images,
    snapshots,
    volumes,
    runtime,
    sandboxes,
    containers,
    async create(args, { name, config = {}, host = {} } = {}) {
      const { id } = await containers.create({
        name,
        config: { Image: "base", Cmd: args, ...config },
        host: { NetworkMode: "none", ...host },
        networking: {},
      });
      return id;
    },
    abandon: async () => {
      await detach();
      snapshots[Symbol.dispose]();
      store[Symbol.dispose]();
    },
    close: async () => {
      for (const { id } of containers.list({ all: true })) await containers.remove(id, { force: true, volumes: true });
      await snapshots.settled();
      await detach();
      await sandboxes.sweep(new Set());
      await runtime.close();
      for (const each of runtime.cgroups.roots) if (existsSync(each + runtime.cgroupParent)) Bun.spawnSync(["rmdir", each + runtime.cgroupParent]);
      snapshots[Symbol.dispose]();
      store[Symbol.dispose]();
      removeRoot(root);
    },
  };
}

/** `base`: a static busybox, two users, a directory with content for volumes. */
async function makeImage(snapshots: Snapshots, store: Store, images: Images): Promise<void> {
  const id = store.tx(() => snapshots.createActive());
  await snapshots.prepareActive(id, []);
  const fs = snapshots.path(id);
  for (const folder of ["bin", "etc", "dev", "proc", "sys", "tmp", "data/sub", "home/anna"]) mkdirSync(`${fs}/${folder}`, { recursive: true });
  cpSync("/bin/busybox", `${fs}/bin/busybox`);
  for (const applet of applets) symlinkSync("busybox", `${fs}/bin/${applet}`);
  writeFileSync(`${fs}/etc/passwd`, "root:x:0:0:root:/root:/bin/sh\nanna:x:1000:1001::/home/anna:/bin/sh\n");
  writeFileSync(`${fs}/etc/group`, "root:x:0:\nanna:x:1001:\n");
  writeFileSync(`${fs}/data/file`, "from the image\n", { mode: 0o640 });
  symlinkSync("/etc/passwd", `${fs}/data/link`);
  symlinkSync("/data", `${fs}/alias`);
  Bun.spawnSync(["chown", "1000:1001", `${fs}/data`, `${fs}/data/file`]);
  await snapshots.commit(id);
  await images.create({
    snapshot: id,
    config: { architecture: "amd64", os: "linux", config: { Env: ["PATH=/bin", "FROM=image"], Cmd: ["sh"], Labels: { made: "here" } } },
    reference: "base:latest",
  });
}

/** A build without network and without any wish. */
export function plainBuild(): Omit<BuildOptions, "onProgress"> {
  return {
    dockerfile: "Dockerfile",
    tags: [],
    quiet: false,
    noCache: false,
    cacheFrom: [],
    pull: false,
    rm: true,
    forceRm: false,
    buildArgs: {},
    labels: {},
    networkMode: "none",
    extraHosts: [],
    squash: false,
    auth: {},
    signal: new AbortController().signal,
  };
}
