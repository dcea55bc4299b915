import { invalidArgument, notImplemented } from "../lib/errors.ts";
import { parseLogFormat, parseLogLevel } from "../lib/log.ts";
import { minApiVersion } from "../lib/version.ts";
import { builderGc, parseAge, parseAmount } from "./gc-options.ts";
import type { PublishMode } from "../networks/context.ts";
import type { DaemonOptions } from "./options.ts";

export type Kind = "bool" | "string" | "int" | "size" | "list" | "map" | "maps";

/** One setting of the engine. */
export interface Flag {
  name: string;
  short?: string;
  kind: Kind;
  /** Name in daemon.json; undefined: command line only. */
  key?: string;
  /** Its name in older daemon.json files, for one text where now is a list. */
  oldKey?: string;
  summary: string;
  /** Why it is taken and does nothing, or why it is refused. */
  ignored?: true;
  /** Not there yet: refused unless it is given this harmless value (an empty list or map always is). */
  later?: boolean | string | number;
  set?: (options: DaemonOptions, value: never) => void;
}

const set =
  <K extends keyof DaemonOptions>(name: K) =>
  (options: DaemonOptions, value: DaemonOptions[K]): void => {
    options[name] = value;
  };

/** dockerd's flags with dockerd's meaning (dockerd's reference documentation), plus Berth's own `--no-cgroup-mounts`. Keys of daemon.json are dockerd's too. */
export const daemonFlags: readonly Flag[] = [
  { name: "host", short: "H", kind: "list", key: "hosts", summary: "Listen here: unix://PATH, tcp://ADDRESS:PORT, fd://", set: set("hosts") },
  {
    name: "data-root",
    kind: "string",
    key: "data-root",
    summary: "Root of what is kept (default /var/lib/berth)",
    set: (o, v: string) => (o.dataRoot = v || o.dataRoot),
  },
  {
    name: "exec-root",
    kind: "string",
    key: "exec-root",
    summary: "Root of what may vanish at boot (default /run/berth)",
    set: (o, v: string) => (o.execRoot = v || o.execRoot),
  },
  { name: "pidfile", short: "p", kind: "string", key: "pidfile", summary: "File for the engine's pid (default EXEC-ROOT/berth.pid)", set: set("pidfile") },
  { name: "config-file", kind: "string", summary: "Settings (default /etc/berth/daemon.json)", set: set("configFile") },
  {
    name: "log-level",
    short: "l",
    kind: "string",
    key: "log-level",
    summary: "debug, info, warn or error",
    set: (o, v: string) => (o.logLevel = parseLogLevel(v || "info")),
  },
  { name: "log-format", kind: "string", key: "log-format", summary: "text or json", set: (o, v: string) => (o.logFormat = parseLogFormat(v || "text")) },
  { name: "debug", short: "D", kind: "bool", key: "debug", summary: "Log at level debug", set: set("debug") },
  { name: "metrics-addr", kind: "string", key: "metrics-addr", summary: "Serve /metrics for Prometheus here too: HOST:PORT", set: set("metricsAddr") },
  { name: "registry", kind: "string", key: "registry", summary: "Be a registry here, too, on the engine's own images: HOST:PORT", set: set("registry") },
  { name: "registry-config", kind: "string", key: "registry-config", summary: "The registry's other settings (docs/registry.md)", set: set("registryConfig") },
  { name: "tls", kind: "bool", key: "tls", summary: "Use TLS on tcp hosts", set: set("tls") },
  {
    name: "tlsverify",
    kind: "bool",
    key: "tlsverify",
    summary: "Use TLS and ask clients for a certificate",
    // set at all, it means TLS, as with dockerd
    set: (o, v: boolean) => Object.assign(o, { tls: true, tlsverify: v }),
  },
  { name: "tlscacert", kind: "string", key: "tlscacert", summary: "Clients' certificates must be signed by this CA", set: set("tlscacert") },
  { name: "tlscert", kind: "string", key: "tlscert", summary: "The engine's certificate", set: set("tlscert") },
  { name: "tlskey", kind: "string", key: "tlskey", summary: "The engine's key", set: set("tlskey") },
  {
    name: "group",
    short: "G",
    kind: "string",
    key: "group",
    summary: "Group that owns the unix socket (default berth, then docker, then root)",
    set: set("group"),
  },
  { name: "bip", kind: "string", key: "bip", summary: "Address and prefix of the default bridge", set: set("bip") },
  { name: "bip6", kind: "string", key: "bip6", summary: "The same for IPv6", set: set("bip6") },
  { name: "bridge", short: "b", kind: "string", key: "bridge", summary: "Name of the default bridge; none: no default network", set: set("bridge") },
  { name: "fixed-cidr", kind: "string", key: "fixed-cidr", summary: "Block that the default network's containers get addresses from", set: set("fixedCidr") },
  { name: "fixed-cidr-v6", kind: "string", key: "fixed-cidr-v6", summary: "The same for IPv6", set: set("fixedCidrV6") },
  {
    name: "default-gateway",
    kind: "string",
    key: "default-gateway",
    summary: "Default route of the default network's containers, where it isn't the bridge",
    set: set("defaultGateway"),
  },
  { name: "default-gateway-v6", kind: "string", key: "default-gateway-v6", summary: "The same for IPv6", set: set("defaultGatewayV6") },
  { name: "ipv6", kind: "bool", key: "ipv6", summary: "The default network has IPv6, too", set: set("ipv6") },
  { name: "mtu", kind: "int", key: "mtu", summary: "MTU of the default network (default 1500)", set: (o, v: number) => (o.mtu = v || 1500) },
  { name: "icc", kind: "bool", key: "icc", summary: "Containers of the default network talk to each other (default true)", set: set("icc") },
  {
    name: "ip-masq",
    kind: "bool",
    key: "ip-masq",
    summary: "Containers of the default network leave under the host's address (default true)",
    set: set("ipMasq"),
  },
  { name: "ip-forward", kind: "bool", key: "ip-forward", summary: "Make the host forward packets (default true)", set: set("ipForward") },
  {
    name: "allow-direct-routing",
    kind: "bool",
    key: "allow-direct-routing",
    summary: "Published ports are reached from outside under containers' own addresses, too",
    set: set("allowDirectRouting"),
  },
  {
    name: "bridge-accept-fwmark",
    kind: "string",
    key: "bridge-accept-fwmark",
    summary: "Packets with this MARK[/MASK] reach containers on bridge networks",
    set: set("bridgeAcceptFwmark"),
  },
  {
    name: "default-network-opt",
    kind: "maps",
    key: "default-network-opts",
    summary: "Option of new networks of a driver: bridge=com.docker.network.driver.mtu=1400",
    set: set("defaultNetworkOpts"),
  },
  { name: "ip", kind: "string", key: "ip", summary: "Address that ports are published on by default", set: set("ip") },
  {
    name: "userland-proxy",
    kind: "bool",
    key: "userland-proxy",
    summary: "Serve ports through the engine where no rule can: [::1], IPv6 to IPv4-only containers (default true)",
    set: set("userlandProxy"),
  },
  { name: "iptables", kind: "bool", key: "iptables", summary: "Make firewall rules (default true)", set: set("iptables") },
  { name: "ip6tables", kind: "bool", key: "ip6tables", summary: "Make them for IPv6, too (default true)", set: set("ip6tables") },
  {
    name: "publish-mode",
    kind: "string",
    key: "publish-mode",
    summary: "Published ports are reached from outside: open (default), or firewall: where the host's INPUT rules let them in (docs/firewall.md)",
    set: (o, v: string) => (o.publishMode = publishMode(v)),
  },
  { name: "dns", kind: "list", key: "dns", summary: "DNS servers of containers", set: set("dns") },
  { name: "dns-opt", kind: "list", key: "dns-opts", summary: "DNS options of containers", set: set("dnsOpts") },
  { name: "dns-search", kind: "list", key: "dns-search", summary: "DNS search domains of containers", set: set("dnsSearch") },
  {
    name: "default-address-pool",
    kind: "list",
    key: "default-address-pools",
    summary: "Pool of subnets for new networks: base=10.0.0.0/8,size=24",
    set: (o, v: (string | { base: string; size: number })[]) => (o.defaultAddressPools = v.map(addressPool)),
  },
  {
    name: "insecure-registry",
    kind: "list",
    key: "insecure-registries",
    summary: "Registries (hosts or CIDR) spoken to without TLS checks",
    set: set("insecureRegistries"),
  },
  { name: "registry-mirror", kind: "list", key: "registry-mirrors", summary: "Mirrors of docker.io, asked first", set: set("registryMirrors") },
  {
    name: "mirror",
    kind: "map",
    key: "mirrors",
    summary: "Mirrors of any registry, asked first: quay.io=https://a,https://b (docs/registries.md)",
    set: (o, v: Record<string, unknown>) => (o.mirrors = Object.fromEntries(Object.entries(v).map(([name, urls]) => [name, mirrorUrls(name, urls)]))),
  },
  {
    name: "max-concurrent-downloads",
    kind: "int",
    key: "max-concurrent-downloads",
    summary: "Layers downloaded at once, over all pulls (default 3)",
    set: (o, v: number) => (o.maxConcurrentDownloads = v || 3),
  },
  {
    name: "max-concurrent-uploads",
    kind: "int",
    key: "max-concurrent-uploads",
    summary: "Layers uploaded at once, over all pushes (default 5)",
    set: (o, v: number) => (o.maxConcurrentUploads = v || 5),
  },
  {
    name: "max-download-attempts",
    kind: "int",
    key: "max-download-attempts",
    summary: "Tries of each download (default 5)",
    set: (o, v: number) => (o.maxDownloadAttempts = v || 5),
  },
  {
    name: "max-layer-size",
    kind: "size",
    key: "max-layer-size",
    summary: "Bytes that one layer of an image may unpack to: 20g (default: what the disk holds)",
    set: (o, v: number) => (o.maxLayerSize = v),
  },
  {
    name: "max-layer-entries",
    kind: "int",
    key: "max-layer-entries",
    summary: "Files and directories that one layer of an image may have (default: what the disk holds)",
    set: set("maxLayerEntries"),
  },
  { name: "http-proxy", kind: "string", key: "http-proxy", summary: "Proxy of the engine's own http requests", set: set("httpProxy") },
  { name: "https-proxy", kind: "string", key: "https-proxy", summary: "Proxy of the engine's own https requests", set: set("httpsProxy") },
  { name: "no-proxy", kind: "string", key: "no-proxy", summary: "Hosts and networks reached without a proxy", set: set("noProxy") },
  {
    name: "add-runtime",
    kind: "map",
    key: "runtimes",
    summary: "NAME=PATH of another OCI runtime",
    set: (o, v: Record<string, unknown>) => Object.assign(o.runtimes, Object.fromEntries(Object.entries(v).map(([name, each]) => [name, runtime(name, each)]))),
  },
  {
    name: "default-runtime",
    kind: "string",
    key: "default-runtime",
    summary: "Runtime of containers that name none (default crun)",
    set: set("defaultRuntime"),
  },
  { name: "exec-opt", kind: "list", key: "exec-opts", summary: "native.cgroupdriver=cgroupfs", set: set("execOpts") },
  { name: "log-driver", kind: "string", key: "log-driver", summary: "json-file, local, journald, syslog or none", set: set("logDriver") },
  { name: "log-opt", kind: "map", key: "log-opts", summary: "max-size=10m, max-file=20, and others (docs/logging.md)", set: set("logOpts") },
  { name: "label", kind: "list", key: "labels", summary: "Labels of the engine", set: set("labels") },
  {
    name: "live-restore",
    kind: "bool",
    key: "live-restore",
    summary: "Leave containers running when the engine stops (default true)",
    set: set("liveRestore"),
  },
  {
    name: "default-ulimit",
    kind: "list",
    key: "default-ulimits",
    summary: "Ulimits of containers that set none: nofile=1024:2048",
    set: (o, v: string[]) => (o.defaultUlimits = Object.fromEntries(v.map(ulimit).map((limit) => [limit.Name, limit]))),
  },
  { name: "shutdown-timeout", kind: "int", key: "shutdown-timeout", summary: "Seconds containers have to stop (default 15)", set: set("shutdownTimeout") },
  { name: "cgroup-parent", kind: "string", key: "cgroup-parent", summary: "Parent cgroup of containers", set: set("cgroupParent") },
  {
    name: "no-cgroup-mounts",
    kind: "bool",
    summary: "Never mount stray cgroup controllers; runc serves where crun then can't",
    set: (o, v: boolean) => (o.cgroupMounts = !v),
  },
  {
    name: "cdi-spec-dir",
    kind: "list",
    key: "cdi-spec-dirs",
    summary: "Where devices are described by CDI (default /etc/cdi and /var/run/cdi)",
    set: (o, v: string[]) => (o.cdiSpecDirs = v.filter((directory) => directory !== "")),
  },
  {
    name: "plugin-socket-dir",
    kind: "string",
    key: "plugin-socket-dir",
    summary: "Where plugins listen: NAME.sock (default /run/docker/plugins)",
    set: set("pluginSocketDir"),
  },
  {
    name: "plugin-spec-dir",
    kind: "list",
    key: "plugin-spec-dirs",
    summary: "Where plugins' addresses are: NAME.spec, NAME.json (default /etc/docker/plugins and /usr/lib/docker/plugins)",
    set: set("pluginSpecDirs"),
  },
  {
    name: "default-cgroupns-mode",
    kind: "string",
    key: "default-cgroupns-mode",
    summary: "Cgroup namespace of containers: private or host (default private on cgroup v2, host on v1)",
    set: (o, v: string) => (o.cgroupnsMode = cgroupnsMode(v)),
  },
  {
    name: "default-shm-size",
    kind: "size",
    key: "default-shm-size",
    summary: "Size of /dev/shm (default 64M)",
    set: (o, v: number) => (o.shmSize = v),
  },
  {
    name: "default-ipc-mode",
    kind: "string",
    key: "default-ipc-mode",
    summary: "IPC mode of containers: private or shareable (default private)",
    set: (o, v: string) => (o.ipcMode = ipcMode(v)),
  },
  {
    name: "default-stop-timeout",
    kind: "int",
    key: "default-stop-timeout",
    summary: "Seconds from the stop signal to SIGKILL (default 10)",
    set: set("stopTimeout"),
  },
  {
    name: "no-new-privileges",
    kind: "bool",
    key: "no-new-privileges",
    summary: "No privileges by setuid programs, unless a container says otherwise",
    set: set("noNewPrivileges"),
  },
  {
    name: "seccomp-profile",
    kind: "string",
    key: "seccomp-profile",
    summary: "Profile of containers that name none: a file, builtin or unconfined",
    set: (o, v: string) => (o.seccompProfile = v === "builtin" ? "" : v),
  },
  {
    name: "image-gc-high-watermark",
    kind: "string",
    key: "image-gc-high-watermark",
    summary: "Remove images that nobody uses above this: 85% of the disk, or bytes of images (default: never)",
    set: (o, v: string) => (o.imageGcHigh = parseAmount("image-gc-high-watermark", v)),
  },
  {
    name: "image-gc-low-watermark",
    kind: "string",
    key: "image-gc-low-watermark",
    summary: "… down to this (default 95% of the high one)",
    set: (o, v: string) => (o.imageGcLow = parseAmount("image-gc-low-watermark", v)),
  },
  {
    name: "image-gc-min-age",
    kind: "string",
    key: "image-gc-min-age",
    summary: "… but none that was used within this time (default 1h)",
    set: (o, v: string) => (o.imageGcMinAge = parseAge("image-gc-min-age", v)),
  },
  { name: "image-gc-keep", kind: "list", key: "image-gc-keep", summary: "… and none with a name like this: PATTERN", set: set("imageGcKeep") },
  {
    name: "builder",
    kind: "map",
    key: "builder",
    summary: "gc=JSON: collection of the build cache, as in daemon.json",
    set: (o, v: Record<string, unknown>) => (o.buildCacheRules = builderGc(v)),
  },
  {
    name: "storage-opt",
    kind: "list",
    key: "storage-opts",
    summary: "overlay2.size=10G: what a container's own layer may hold where it has no --storage-opt of its own (docs/settings.md)",
    set: set("storageOpts"),
  },
  {
    name: "host-gateway-ip",
    kind: "list",
    key: "host-gateway-ips",
    oldKey: "host-gateway-ip",
    summary: "What host-gateway means in --add-host: an IPv4 and an IPv6 address at most (default: the gateway of the container's network)",
    set: set("hostGatewayIps"),
  },
  {
    name: "init-path",
    kind: "string",
    key: "init-path",
    summary: "The init of --init: a static program's path, or its name (default: tini or catatonit, where the host has one)",
    set: set("initPath"),
  },
  { name: "init", kind: "bool", key: "init", summary: "Run an init as process 1 of containers", set: set("init") },
  {
    name: "feature",
    kind: "map",
    key: "features",
    summary: "NAME=true|false: shown to clients",
    set: (o, v: Record<string, unknown>) => (o.features = features(v)),
  },
  { name: "validate", kind: "bool", summary: "Check the settings and exit", set: set("validate") },
  { name: "version", short: "v", kind: "bool", summary: "Print the version and exit", set: set("version") },
  { name: "help", short: "h", kind: "bool", summary: "Print this and exit", set: set("help") },
  {
    name: "userns-remap",
    kind: "string",
    key: "userns-remap",
    summary: "Run containers with a user's subordinate ids: default, USER[:GROUP], UID[:GID]",
    set: set("usernsRemap"),
  },
  {
    name: "storage-driver",
    short: "s",
    kind: "string",
    key: "storage-driver",
    summary: "overlay2 is the one there is",
    set: (_, v: string) => storageDriver(v),
  },
  { name: "containerd", kind: "string", key: "containerd", summary: "Taken and ignored: there is no containerd", ignored: true },
  { name: "containerd-namespace", kind: "string", key: "containerd-namespace", summary: "Taken and ignored", ignored: true },
  { name: "containerd-plugins-namespace", kind: "string", key: "containerd-plugins-namespace", summary: "Taken and ignored", ignored: true },
  { name: "userland-proxy-path", kind: "string", key: "userland-proxy-path", summary: "Taken and ignored", ignored: true },
  { name: "experimental", kind: "bool", key: "experimental", summary: "Taken and ignored", ignored: true },
  { name: "cri-containerd", kind: "bool", key: "cri-containerd", summary: "Taken and ignored", ignored: true },
  { name: "raw-logs", kind: "bool", key: "raw-logs", summary: "Taken and ignored: logs are never coloured", ignored: true },
  { name: "restart", short: "r", kind: "bool", summary: "Taken and ignored: containers have policies of their own", ignored: true },
  { name: "ip-forward-no-drop", kind: "bool", key: "ip-forward-no-drop", summary: "Taken and ignored: no policy is ever set to DROP", ignored: true },
  { name: "network-control-plane-mtu", kind: "int", key: "network-control-plane-mtu", summary: "Taken and ignored", ignored: true },
  { name: "firewall-backend", kind: "string", key: "firewall-backend", summary: "nftables is the one there is", later: "nftables" },
  { name: "network-diagnostic-port", kind: "int", key: "network-diagnostic-port", summary: "Not supported", later: 0 },
  { name: "authorization-plugin", kind: "list", key: "authorization-plugins", summary: "Not supported yet", later: "" },
  { name: "selinux-enabled", kind: "bool", key: "selinux-enabled", summary: "Not supported yet", later: false },
  {
    name: "cpu-rt-period",
    kind: "int",
    key: "cpu-rt-period",
    summary: "Real-time period of all containers together, in microseconds (cgroup v1)",
    set: set("cpuRtPeriod"),
  },
  {
    name: "cpu-rt-runtime",
    kind: "int",
    key: "cpu-rt-runtime",
    summary: "Real-time microseconds that all containers together have in it (cgroup v1)",
    set: set("cpuRtRuntime"),
  },
  {
    name: "min-api-version",
    kind: "string",
    key: "min-api-version",
    summary: `Refuse clients of an API older than this (default ${minApiVersion})`,
    set: (o, v: string) => (o.minApiVersion = v || minApiVersion),
  },
  { name: "node-generic-resource", kind: "list", key: "node-generic-resources", summary: "Not supported: there is no swarm mode yet", later: "" },
  {
    name: "swarm-default-advertise-addr",
    kind: "string",
    key: "swarm-default-advertise-addr",
    summary: "Not supported: there is no swarm mode yet",
    later: "",
  },
  { name: "nri-opts", kind: "map", key: "nri-opts", summary: "Not supported", later: "" },
  { name: "rootless", kind: "bool", key: "rootless", summary: "Not supported yet", later: false },
];

function publishMode(text: string): PublishMode {
  if (text === "" || text === "open") return "open";
  if (text === "firewall") return text;
  throw invalidArgument(`--publish-mode: want open or firewall, not ${JSON.stringify(text)}`);
}

function ipcMode(text: string): "private" | "shareable" {
  if (text === "private" || text === "shareable") return text;
  throw invalidArgument(`IPC mode "${text}" is not supported as default value: want private or shareable`);
}

function cgroupnsMode(text: string): "private" | "host" {
  if (text === "private" || text === "host") return text;
  throw invalidArgument(`--default-cgroupns-mode: want private or host, not ${JSON.stringify(text)}`);
}

function storageDriver(name: string): void {
  if (!["", "overlay2", "overlay", "overlayfs"].includes(name)) throw invalidArgument(`--storage-driver ${name}: overlay2 is the only one there is`);
}

/** `NAME=PATH` of the command line, or an object of daemon.json. containerd's shims, named by `runtimeType`, are not for us. */
function mirrorUrls(registry: string, given: unknown): string[] {
  const urls = typeof given === "string" ? given.split(",") : given;
  if (!Array.isArray(urls) || !urls.every((url) => typeof url === "string"))
    throw invalidArgument(`mirrors.${registry}: want a URL or a list of them, not ${JSON.stringify(given)}`);
  return urls;
}

function runtime(name: string, given: unknown): { path: string; runtimeArgs?: string[] } {
  if (typeof given === "string") return { path: given };
  const { path, runtimeArgs, runtimeType, ...rest } = (given ?? {}) as Record<string, unknown>;
  if (runtimeType !== undefined)
    throw notImplemented(`runtimes.${name}: runtimeType needs containerd; name a program that meets OCI's runtime command line as path`);
  const [unknown] = Object.keys(rest).filter((key) => key !== "options");
  if (unknown !== undefined) throw invalidArgument(`runtimes.${name}: unknown setting ${unknown}`);
  if (typeof path !== "string" || path === "") throw invalidArgument(`runtimes.${name}: want a path`);
  if (runtimeArgs === undefined || runtimeArgs === null) return { path };
  if (!Array.isArray(runtimeArgs) || !runtimeArgs.every((each) => typeof each === "string"))
    throw invalidArgument(`runtimes.${name}: want a list of texts as runtimeArgs`);
  return { path, runtimeArgs };
}

function features(given: Record<string, unknown>): Record<string, boolean> {
  return Object.fromEntries(
    Object.entries(given).map(([name, value]) => {
      if (value !== true && value !== false && value !== "true" && value !== "false") throw invalidArgument(`feature ${name}: want true or false`);
      return [name, value === true || value === "true"];
    }),
  );
}

function addressPool(pool: string | { base: string; size: number }): { base: string; size: number } {
  if (typeof pool === "object" && pool !== null) return pool;
  const match = /^base=([^,]+),size=(\d+)$/.exec(pool);
  if (match === null) throw invalidArgument(`--default-address-pool: want base=CIDR,size=N, not ${JSON.stringify(pool)}`);
  return { base: match[1] ?? "", size: Number(match[2]) };
}

function ulimit(text: string): { Name: string; Soft: number; Hard: number } {
  const match = /^([a-z]+)=(-?\d+)(?::(-?\d+))?$/.exec(text);
  if (match === null) throw invalidArgument(`--default-ulimit: want NAME=SOFT[:HARD], not ${JSON.stringify(text)}`);
  const soft = Number(match[2]);
  return { Name: match[1] ?? "", Soft: soft, Hard: match[3] === undefined ? soft : Number(match[3]) };
}

/** The text of `berthd --help`. */
export function daemonHelp(): string {
  const rows = daemonFlags.map((flag) => {
    const kind = flag.kind === "bool" ? "" : ` ${flag.kind}`;
    return `  ${flag.short === undefined ? "    " : `-${flag.short}, `}--${`${flag.name}${kind}`.padEnd(30)} ${flag.summary}`;
  });
  return `Usage: berthd [OPTIONS]\n\nThe Berth engine.\n\nOptions:\n${rows.join("\n")}\n`;
}
