import type { Builder } from "../build/types.ts";
import type { Containers } from "../containers/types.ts";
import type { Paths } from "../daemon/paths.ts";
import type { Events } from "../events/types.ts";
import type { Images } from "../images/types.ts";
import { realtimeNano } from "../kernel/clock.ts";
import type { Logger } from "../lib/log.ts";
import { formatNano } from "../lib/time.ts";
import { logDrivers } from "../logs/options.ts";
import { apiVersion, version } from "../lib/version.ts";
import type { Networks } from "../networks/types.ts";
import type { Runtimes } from "../runtime/types.ts";
import type { Snapshots } from "../snapshots/types.ts";
import type { Store } from "../store/store.ts";
import type { Volumes } from "../volumes/types.ts";
import { createComponents, type Component } from "./components.ts";
import { debugState } from "./debug.ts";
import { checkStorage } from "./check.ts";
import { diskUsage } from "./disk-usage.ts";
import { countOpenFiles, engineId, hostFacts, readMemTotal } from "./host.ts";
import { maskCredentials } from "./mask.ts";
import { writeMetrics } from "./metrics.ts";
import type { Proxies, System, SystemInfo, VersionInfo } from "./types.ts";

export interface SystemDeps {
  store: Store;
  images: Images;
  containers: Containers;
  networks: Networks;
  volumes: Volumes;
  snapshots: Pick<Snapshots, "inventory">;
  runtime: Runtimes;
  builder: Pick<Builder, "counts" | "cache">;
  events: Events;
  proxies: Proxies;
  paths: Paths;
  log: Logger;
  /** Containers have user namespaces unless they ask for none. */
  userns: boolean;
  options: SystemOptions;
}

/** The settings that `/info` shows. */
export interface SystemOptions {
  minApiVersion: string;
  initPath: string;
  debug: boolean;
  labels: readonly string[];
  logDriver: string;
  liveRestore: boolean;
  seccompProfile: string;
  noNewPrivileges: boolean;
  cgroupnsMode?: "private" | "host";
  shutdownTimeout: number;
  iptables: boolean;
  hosts: readonly string[];
  tls: boolean;
  tlsverify: boolean;
  insecureRegistries: readonly string[];
  mirrors: Readonly<Record<string, readonly string[]>>;
  registryMirrors: readonly string[];
  defaultAddressPools: readonly { base: string; size: number }[];
}

/** Answers `/info` and `/version`. Facts about the host are read once. */
export function createSystem(deps: SystemDeps): System {
  const facts = hostFacts(deps.paths.dataRoot, deps.runtime.cgroups);
  const id = engineId(deps.store);
  const components = createComponents(deps.runtime);
  return {
    id,
    get stopTimeout() {
      return deps.options.shutdownTimeout;
    },
    info: async () => {
      const cdi = await deps.runtime.discoverDevices();
      const [tool] = await components();
      const commit = tool?.Name === deps.runtime.defaultName ? tool.Details["GitCommit"] || tool.Version : "";
      return {
        ID: id,
        ...counts(deps),
        Driver: "overlay2",
        DriverStatus: [
          ["Backing Filesystem", facts.backingFileSystem],
          ["Supports d_type", "true"],
          ["Using metacopy", "false"],
          ["Native Overlay Diff", "true"],
          ["userxattr", "false"],
        ],
        SystemStatus: null,
        Plugins: { Volume: deps.volumes.drivers(), Network: deps.networks.drivers(), Authorization: null, Log: [...logDrivers] },
        ...facts.limits,
        BridgeNfIptables: facts.bridgeNetfilter.v4,
        BridgeNfIp6tables: facts.bridgeNetfilter.v6,
        Debug: deps.options.debug,
        NFd: await countOpenFiles(),
        // there are none in this engine
        NGoroutines: 0,
        NEventsListener: deps.events.listeners,
        SystemTime: formatNano(realtimeNano()),
        LoggingDriver: deps.options.logDriver,
        CgroupDriver: "cgroupfs",
        CgroupVersion: String(deps.runtime.cgroups.version),
        KernelVersion: facts.kernelVersion,
        OperatingSystem: facts.operatingSystem,
        OSVersion: facts.osVersion,
        OSType: "linux",
        Architecture: facts.machine,
        IndexServerAddress: "https://index.docker.io/v1/",
        RegistryConfig: registryConfig(deps.options),
        NCPU: navigator.hardwareConcurrency,
        MemTotal: readMemTotal(),
        GenericResources: null,
        DockerRootDir: deps.paths.dataRoot,
        HttpProxy: maskCredentials(deps.proxies.http),
        HttpsProxy: maskCredentials(deps.proxies.https),
        NoProxy: deps.proxies.no,
        Name: facts.hostname,
        Labels: deps.options.labels,
        ExperimentalBuild: false,
        ServerVersion: version,
        ...runtimes(deps.runtime),
        Swarm: { NodeID: "", NodeAddr: "", LocalNodeState: "inactive", ControlAvailable: false, Error: "", RemoteManagers: null },
        LiveRestoreEnabled: deps.options.liveRestore,
        Isolation: "",
        InitBinary: deps.options.initPath,
        ContainerdCommit: { ID: "", Expected: "" },
        RuncCommit: { ID: commit, Expected: commit },
        InitCommit: { ID: "", Expected: "" },
        SecurityOptions: securityOptions(deps),
        ProductLicense: "",
        DefaultAddressPools: deps.options.defaultAddressPools.map(({ base, size }) => ({ Base: base, Size: size })),
        FirewallBackend: { Driver: deps.options.iptables ? "nftables" : "none" },
        CDISpecDirs: cdi.directories,
        ...(cdi.names.length === 0 ? {} : { DiscoveredDevices: cdi.names.map((name) => ({ Source: "cdi", ID: name })) }),
        Warnings: [
          ...facts.warnings,
          ...deps.runtime.warnings,
          ...openPorts(deps.options),
          ...(deps.options.seccompProfile === "" ? [] : ["WARNING: daemon is not using the default seccomp profile"]),
          ...cdi.warnings,
        ],
      };
    },
    version: async () => versionInfo(deps.options, facts.kernelVersion, facts.dockerArch, await components()),
    get debug() {
      return deps.options.debug;
    },
    debugState: () => debugState(deps),
    writeMetrics: (out) => writeMetrics(out, { ...deps, id, facts }),
    check: (options) => checkStorage(deps, options),
    diskUsage: (kinds) => diskUsage(deps, kinds),
  };
}

function counts({ containers, images }: SystemDeps): SystemInfo {
  const all = containers.list({ all: true });
  const running = all.filter(({ state }) => state.status === "running" || state.status === "restarting").length;
  const paused = all.filter(({ state }) => state.status === "paused").length;
  return {
    Containers: all.length,
    ContainersRunning: running,
    ContainersPaused: paused,
    ContainersStopped: all.length - running - paused,
    Images: images.count(),
  };
}

/** Clients look for `runc`: it is a name of the default runtime. */
function runtimes(runtime: Runtimes): SystemInfo {
  const known = Object.fromEntries([...runtime.available].map(([name, { path }]) => [name, { path, status: {} }]));
  const fallback = runtime.available.get(runtime.defaultName);
  return {
    Runtimes: { ...(fallback === undefined ? {} : { runc: { path: fallback.path, status: {} } }), ...known },
    DefaultRuntime: runtime.defaultName,
  };
}

/** In dockerd's order. */
function securityOptions({ options, userns, runtime }: SystemDeps): string[] {
  const cgroupns = options.cgroupnsMode ?? (runtime.cgroups.version === 2 ? "private" : "host");
  return [
    ...(runtime.hasApparmor ? ["name=apparmor"] : []),
    `name=seccomp,profile=${options.seccompProfile || "builtin"}`,
    ...(userns ? ["name=userns"] : []),
    ...(cgroupns === "private" ? ["name=cgroupns"] : []),
    ...(options.noNewPrivileges ? ["name=no-new-privileges"] : []),
  ];
}

/** dockerd's warnings about an API that anybody may use. */
function openPorts({ hosts, tls, tlsverify }: SystemOptions): string[] {
  if (tls && tlsverify) return [];
  const danger = "\n         Access to the remote API is equivalent to root access on the host.";
  return hosts
    .filter((host) => host.startsWith("tcp://"))
    .map((host) => host.slice("tcp://".length))
    .map((address) =>
      tls
        ? `WARNING: API is accessible on https://${address} without TLS client verification.${danger}`
        : `WARNING: API is accessible on http://${address} without encryption.${danger}`,
    );
}

function registryConfig({ insecureRegistries, registryMirrors, mirrors: mirrorsOf }: SystemOptions): SystemInfo {
  const cidrs = insecureRegistries.filter((registry) => registry.includes("/"));
  const hosts = insecureRegistries.filter((registry) => !registry.includes("/"));
  const asUrls = (urls: readonly string[]): string[] => urls.map((url) => (url.endsWith("/") ? url : `${url}/`));
  const mirrors = asUrls([...registryMirrors, ...(mirrorsOf["docker.io"] ?? [])]);
  const others = [...new Set([...hosts, ...Object.keys(mirrorsOf)])].filter((host) => host !== "docker.io");
  return {
    AllowNondistributableArtifactsCIDRs: null,
    AllowNondistributableArtifactsHostnames: null,
    InsecureRegistryCIDRs: ["::1/128", "127.0.0.0/8", ...cidrs],
    IndexConfigs: {
      "docker.io": { Name: "docker.io", Mirrors: mirrors, Secure: true, Official: true },
      ...Object.fromEntries(
        others.map((host) => [host, { Name: host, Mirrors: asUrls(mirrorsOf[host] ?? []), Secure: !hosts.includes(host), Official: false }]),
      ),
    },
    Mirrors: mirrors,
  };
}

function versionInfo({ minApiVersion }: SystemOptions, kernelVersion: string, arch: string, components: Component[]): VersionInfo {
  const details = { ApiVersion: apiVersion, MinAPIVersion: minApiVersion, Os: "linux", Arch: arch, KernelVersion: kernelVersion, Experimental: "false" };
  return {
    Platform: { Name: "Berth" },
    Components: [{ Name: "Engine", Version: version, Details: { ...details, GitCommit: "", GoVersion: "", BuildTime: "" } }, ...components],
    Version: version,
    ApiVersion: apiVersion,
    MinAPIVersion: minApiVersion,
    GitCommit: "",
    GoVersion: "",
    Os: "linux",
    Arch: arch,
    KernelVersion: kernelVersion,
    BuildTime: "",
  };
}
