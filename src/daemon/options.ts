import { invalidArgument, messageOf, notImplemented } from "../lib/errors.ts";
import type { LogFormat, LogLevel } from "../lib/log.ts";
import type { NetworkOptions } from "../networks/context.ts";
import { minApiVersion } from "../lib/version.ts";
import { maskCredentials } from "../system/mask.ts";
import type { Amount, CacheRuleSetting } from "../system/collector.ts";
import { checkOptions } from "./check-options.ts";
import { readConfigFile } from "./config-file.ts";
import { flagsGiven, fromJson, fromOldJson } from "./flag-values.ts";
import { daemonFlags, type Flag } from "./flags.ts";
import { defaultCacheRules } from "./gc-options.ts";
import { socketsHandedOver } from "./handed-over.ts";

/** The engine's settings: flags over daemon.json over defaults. Names are dockerd's, in camel case. */
export interface DaemonOptions extends Required<Omit<NetworkOptions, "engineKey" | "engineId">> {
  hosts: string[];
  dataRoot: string;
  execRoot: string;
  pidfile: string;
  configFile: string;
  logLevel: LogLevel;
  logFormat: LogFormat;
  debug: boolean;
  /** host:port of a plain HTTP server for /metrics alone; empty: none. */
  metricsAddr: string;
  /** host:port on which the engine is a registry, too; empty: none. Its other settings, in a file. */
  registry: string;
  registryConfig: string;
  tls: boolean;
  tlsverify: boolean;
  tlscacert: string;
  tlscert: string;
  tlskey: string;
  group: string;
  insecureRegistries: string[];
  /** URLs of mirrors by registry; `*` for all that have none of their own. */
  mirrors: Record<string, string[]>;
  registryMirrors: string[];
  maxConcurrentDownloads: number;
  maxConcurrentUploads: number;
  /** Tries of a download before a pull gives up. */
  maxDownloadAttempts: number;
  /** Of one layer: bytes of its tar and of the files in it, and entries. 0: as many as the disk holds. */
  maxLayerSize: number;
  maxLayerEntries: number;
  /** When images that nobody uses go; undefined: never. */
  imageGcHigh: Amount | undefined;
  imageGcLow: Amount | undefined;
  /** Milliseconds. */
  imageGcMinAge: number;
  imageGcKeep: string[];
  buildCacheRules: CacheRuleSetting[];
  httpProxy: string;
  httpsProxy: string;
  noProxy: string;
  runtimes: Record<string, { path: string; runtimeArgs?: string[] }>;
  /** Empty: crun, or runc where crun can't serve. */
  defaultRuntime: string;
  execOpts: string[];
  logDriver: string;
  logOpts: Record<string, string>;
  labels: string[];
  liveRestore: boolean;
  /** Switches by name; none changes this engine, clients see them in `reload` events. */
  features: Record<string, boolean>;
  defaultUlimits: Record<string, { Name: string; Soft: number; Hard: number }>;
  shutdownTimeout: number;
  cgroupParent: string;
  cgroupMounts: boolean;
  cdiSpecDirs: string[];
  /** Folder of legacy plugins' sockets, and folders of their specs. */
  pluginSocketDir: string;
  pluginSpecDirs: string[];
  /** Undefined: `private` on cgroup v2, `host` on v1. */
  cgroupnsMode?: "private" | "host";
  /** Of containers that say nothing: bytes of /dev/shm, IPC mode, seconds from the stop signal to SIGKILL. */
  shmSize: number;
  ipcMode: "private" | "shareable";
  stopTimeout: number;
  /** What `host-gateway` means to containers; empty: the gateway of their network. */
  hostGatewayIps: string[];
  storageOpts: string[];
  noNewPrivileges: boolean;
  /** Empty: the built-in profile; else `unconfined` or a file. */
  seccompProfile: string;
  init: boolean;
  /** Path or name of the init that is meant; empty: the first that is found. */
  initPath: string;
  /** Microseconds: what containers together have of real-time scheduling. 0: as their cgroup has it. */
  cpuRtPeriod: number;
  cpuRtRuntime: number;
  /** `1.N`. */
  minApiVersion: string;
  /** Empty: containers have the host's ids. */
  usernsRemap: string;
  validate: boolean;
  version: boolean;
  help: boolean;
}

export function defaultOptions(): DaemonOptions {
  return {
    hosts: [],
    dataRoot: "/var/lib/berth",
    execRoot: "/run/berth",
    pidfile: "",
    configFile: "/etc/berth/daemon.json",
    logLevel: "info",
    logFormat: "text",
    debug: false,
    metricsAddr: "",
    registry: "",
    registryConfig: "",
    tls: false,
    tlsverify: false,
    tlscacert: "",
    tlscert: "",
    tlskey: "",
    group: "",
    bip: "",
    bip6: "",
    fixedCidr: "",
    fixedCidrV6: "",
    defaultGateway: "",
    defaultGatewayV6: "",
    mtu: 1500,
    icc: true,
    ipMasq: true,
    ipForward: true,
    ipv6: false,
    allowDirectRouting: false,
    bridgeAcceptFwmark: "",
    defaultNetworkOpts: {},
    bridge: "",
    ip: "0.0.0.0",
    iptables: true,
    ip6tables: true,
    userlandProxy: true,
    publishMode: "open",
    dns: [],
    hostGatewayIps: [],
    dnsOpts: [],
    dnsSearch: [],
    defaultAddressPools: [],
    insecureRegistries: [],
    mirrors: {},
    registryMirrors: [],
    maxConcurrentDownloads: 3,
    maxConcurrentUploads: 5,
    maxDownloadAttempts: 5,
    maxLayerSize: 0,
    maxLayerEntries: 0,
    imageGcHigh: undefined,
    imageGcLow: undefined,
    imageGcMinAge: 60 * 60 * 1000,
    imageGcKeep: [],
    buildCacheRules: defaultCacheRules(),
    httpProxy: "",
    httpsProxy: "",
    noProxy: "",
    runtimes: {},
    defaultRuntime: "",
    execOpts: [],
    logDriver: "json-file",
    logOpts: {},
    labels: [],
    shmSize: 64 << 20,
    ipcMode: "private",
    stopTimeout: 10,
    noNewPrivileges: false,
    seccompProfile: "",
    liveRestore: true,
    features: {},
    defaultUlimits: {},
    shutdownTimeout: 15,
    cgroupParent: "",
    cgroupMounts: true,
    cdiSpecDirs: ["/etc/cdi", "/var/run/cdi"],
    pluginSocketDir: "/run/docker/plugins",
    pluginSpecDirs: ["/etc/docker/plugins", "/usr/lib/docker/plugins"],
    storageOpts: [],
    init: false,
    initPath: "",
    cpuRtPeriod: 0,
    cpuRtRuntime: 0,
    minApiVersion,
    usernsRemap: "",
    validate: false,
    version: false,
    help: false,
  };
}

/** Keys of daemon.json that have no flag: what dockerd has given up. */
const ignoredKeys = ["deprecated-key-path", "allow-nondistributable-artifacts"];

/**
 * Settings from the command line and daemon.json, checked. As with dockerd, a key that stands in both is an error (runtimes are merged), and so is an
 * unknown key.
 * @throws EngineError invalidArgument, notImplemented (a setting of a later release)
 */
export function parseDaemonOptions(argv: readonly string[]): DaemonOptions {
  const given = flagsGiven(argv);
  const options = defaultOptions();
  const path = (given.get("config-file") as string | undefined) ?? options.configFile;
  try {
    const file = readConfigFile(path, given.has("config-file"));
    refuseConflicts(file, given);
    for (const flag of daemonFlags) {
      if (flag.key !== undefined && flag.key in file) apply(flag, options, fromJson(flag, file[flag.key]));
      if (flag.oldKey !== undefined && flag.oldKey in file) apply(flag, options, fromOldJson(flag.oldKey, file[flag.oldKey]));
    }
  } catch (error) {
    throw invalidArgument(`unable to configure the daemon with file ${path}: ${messageOf(error)}`, error);
  }
  for (const flag of daemonFlags) if (given.has(flag.name)) apply(flag, options, given.get(flag.name));
  if (options.pidfile === "") options.pidfile = `${options.execRoot}/berth.pid`;
  if (options.hosts.length === 0) {
    // as dockerd: whoever asks for TLS and names no host means TCP
    if (options.tls) options.hosts = ["tcp://127.0.0.1:2376"];
    else if (socketsHandedOver() === 0) options.hosts = [`unix://${options.execRoot}/berth.sock`];
  }
  // Unlike dockerd: a unit that hands over a socket needs no --host fd://, which would contradict `hosts` in the file.
  if (socketsHandedOver() > 0 && !options.hosts.some((host) => host.startsWith("fd://"))) options.hosts.push("fd://");
  checkOptions(options);
  return options;
}

/** dockerd's two sentences, which configuration tools look for. */
function refuseConflicts(file: Record<string, unknown>, given: ReadonlyMap<string, unknown>): void {
  const known = new Set([...daemonFlags.flatMap((flag) => [flag.key, flag.oldKey]), ...ignoredKeys]);
  const unknown = Object.keys(file).filter((key) => !known.has(key));
  if (unknown.length > 0) throw invalidArgument(`the following directives don't match any configuration option: ${unknown.join(", ")}`);
  const twice = daemonFlags.find(({ key = "", oldKey = "" }) => key in file && oldKey in file);
  if (twice !== undefined) throw invalidArgument(`${twice.oldKey} and ${twice.key} must not both be specified in the config file`);
  const both = daemonFlags.flatMap(({ name, key, oldKey }) =>
    [key, oldKey].filter((each) => each !== undefined && each !== "runtimes" && each in file && given.has(name)).map((each) => ({ name, key: each! })),
  );
  if (both.length === 0) return;
  const shown = both.map(({ name, key }) => `${key}: (from flag: ${shownValue(given.get(name))}, from file: ${shownValue(file[key])})`);
  throw invalidArgument(`the following directives are specified both as a flag and in the configuration file: ${shown.join(", ")}`);
}

/** A setting as dockerd, and so Go, prints it; a proxy's password stays out. */
function shownValue(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(shownValue).join(" ")}]`;
  if (typeof value !== "object" || value === null) return maskCredentials(String(value));
  return `map[${Object.entries(value)
    .map(([key, each]) => `${key}:${shownValue(each)}`)
    .join(" ")}]`;
}

function apply(flag: Flag, options: DaemonOptions, value: unknown): void {
  if (flag.later !== undefined && value !== flag.later && !isEmpty(value)) throw notImplemented(`--${flag.name}=${shownValue(value)} is not supported yet`);
  flag.set?.(options, value as never);
}

const isEmpty = (value: unknown): boolean =>
  value === "" || value === 0 || (Array.isArray(value) ? value.length === 0 : typeof value === "object" && value !== null && Object.keys(value).length === 0);
