import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import fields from "../fixtures/create-fields.json" with { type: "json" };
import { skipped } from "../skips.ts";
import { Engine } from "./harness.ts";
import { payloadOf } from "./raw-client.ts";

/**
 * Every field that `POST /containers/create` has in the Engine API 1.55 (test/fixtures/create-fields.json: query parameters with a `?`, properties of the
 * body by path), and what becomes of it: it has an effect that is seen here (`shows`) or in the test named (`seenIn`), it is refused by name, or it is taken and means
 * nothing, with the reason. A field of a later version fails this test until it stands here.
 */

type Json = Record<string, unknown>;
/** What a container made with it prints or is; `want` is a part of its output. */
interface Shows {
  query?: string;
  config?: Json;
  host?: Json;
  network?: Json;
  /** A shell script, run in the container. */
  script?: string;
  want?: string | RegExp;
  /** Judged by inspect, while it runs or after. */
  inspect?: (inspect: Json, engine: Engine) => unknown;
}
interface Row {
  of: string[];
  shows?: Shows[];
  seenIn?: [file: string, test: string];
  refused?: { query?: string; config?: Json; host?: Json; network?: Json; error: string | RegExp }[];
  meansNothing?: string;
}

const root = mkdtempSync(join(tmpdir(), "berth-fields-"));
const dir = join(root, "dir");
/** A shared mount. */
const shared = join(root, "shared");
const device = "/dev/fuse";
const isV2 = !readFileSync("/proc/mounts", "utf8").includes(" cgroup rw");
const cgroup = (v1: string, v2: string): string => `cat /sys/fs/cgroup/${isV2 ? v2 : v1}`;
/** Nothing is read of the disk: the numbers that the limit is kept under are what counts. */
const disk = (): { path: string; numbers: string } => {
  const line = readFileSync("/proc/partitions", "utf8")
    .split("\n")
    .slice(2)
    .map((each) => each.trim().split(/\s+/))
    .find(([major, , , name]) => major !== "1" && /^(vd|sd|nvme|xvd|loop|dm|zram)/.test(name ?? "")) as [string, string, string, string];
  return { path: `/dev/${line[3]}`, numbers: `${line[0]}:${line[1]}` };
};
const { path: block, numbers } = disk();
const of = (...names: string[]): string[] => names;
const host = (...names: string[]): string[] => names.map((name) => `HostConfig.${name}`);
const mount = (more: Json): Json => ({ Mounts: [{ Target: "/m", ...more }] });
const bind = { Type: "bind", Source: dir };
const endpoint = (...names: string[]): string[] => names.map((name) => `NetworkingConfig.EndpointsConfig.${name}`);
const on = (settings: Json, name = "mine"): Json => ({ host: { NetworkMode: name }, network: { [name]: settings } });
const at = (value: unknown, ...path: (string | number)[]): unknown => path.reduce<unknown>((each, key) => (each as Json)?.[key], value);
const capabilities = "grep CapEff /proc/self/status";

const rows: Row[] = [
  {
    of: of("?name"),
    shows: [{ query: "name=fields-named", inspect: (each) => each["Name"] === "/fields-named" }],
    refused: [{ query: "name=a%20b", error: "Invalid container name (a b)" }],
  },
  {
    of: of("?platform"),
    shows: [{ query: `platform=linux/${process.arch === "x64" ? "amd64" : process.arch}`, script: "echo ran", want: "ran" }],
    refused: [{ query: "platform=plan9/mips", error: /plan9/ }],
  },
  {
    of: of("Hostname"),
    shows: [{ config: { Hostname: "web" }, script: "hostname; cat /etc/hostname", want: "web\nweb\n" }],
    refused: [{ config: { Hostname: "x".repeat(65) }, error: "hostname" }],
  },
  {
    of: of("Domainname"),
    shows: [
      {
        config: { Hostname: "web", Domainname: "example.com" },
        script: "hostname -f; cat /proc/sys/kernel/domainname",
        want: "web.example.com\nexample.com\n",
      },
    ],
    refused: [{ config: { Domainname: "example.com\n6.6.6.6 other" }, error: "invalid domainname format" }],
  },
  { of: of("User"), shows: [{ config: { User: "worker:wheel" }, script: "id -u; id -g; echo $HOME", want: "1000\n10\n/home/worker\n" }] },
  { of: of("AttachStdin", "AttachStdout", "AttachStderr"), meansNothing: "they say what the client attaches, by a request of its own; inspect shows them" },
  {
    of: [...of("ExposedPorts"), ...host("PublishAllPorts")],
    shows: [
      {
        config: { ExposedPorts: { "80": {} } },
        host: { PublishAllPorts: true },
        inspect: (each) => /^\d+$/.test(String(at(each, "NetworkSettings", "Ports", "80/tcp", 0, "HostPort"))),
      },
    ],
    refused: [{ config: { ExposedPorts: { "99999/tcp": {} } }, error: "invalid port specification" }],
  },
  { of: of("Tty"), shows: [{ config: { Tty: true }, script: "test -t 1 && echo terminal", want: "terminal" }] },
  { of: host("ConsoleSize"), shows: [{ config: { Tty: true }, host: { ConsoleSize: [33, 99] }, script: "stty size", want: "33 99" }] },
  { of: of("OpenStdin", "StdinOnce"), seenIn: ["test/e2e/docker-cli.test.ts", "passes stdin and its end"] },
  {
    of: of("Env"),
    shows: [{ config: { Env: ["A=1", "PATH=/bin:/x"] }, script: "echo $A $PATH", want: "1 /bin:/x" }],
    refused: [{ config: { Env: ["=x"] }, error: "invalid environment variable: =x" }],
  },
  {
    of: of("Cmd", "Entrypoint", "Image"),
    shows: [{ config: { Entrypoint: ["echo", "entry"], Cmd: ["word"] }, want: "entry word" }],
    refused: [{ config: { Image: "no-such" }, error: "No such image: no-such:latest" }],
  },
  {
    of: ["Test", "Interval", "Timeout", "Retries", "StartPeriod", "StartInterval"].map((name) => `Healthcheck.${name}`),
    seenIn: ["test/kernel/containers.test.ts", "a health check that fails and recovers"],
  },
  { of: of("ArgsEscaped"), meansNothing: "of Windows" },
  { of: of("Volumes"), shows: [{ config: { Volumes: { "/v": {} } }, script: "grep ' /v ' /proc/mounts", want: " /v " }] },
  {
    of: of("WorkingDir"),
    shows: [{ config: { WorkingDir: "/usr/../tmp/" }, script: "pwd", want: "/tmp", inspect: (each) => at(each, "Config", "WorkingDir") === "/tmp" }],
    refused: [{ config: { WorkingDir: "tmp" }, error: "it needs to be an absolute path" }],
  },
  { of: of("NetworkDisabled"), shows: [{ config: { NetworkDisabled: true }, script: "ls /sys/class/net", want: "lo\n" }] },
  { of: of("OnBuild"), shows: [{ config: { OnBuild: ["RUN x"] }, inspect: (each) => at(each, "Config", "OnBuild", 0) === "RUN x" }] },
  { of: of("Labels"), shows: [{ config: { Labels: { a: "b" } }, inspect: (each) => at(each, "Config", "Labels", "a") === "b" }] },
  {
    of: of("StopSignal", "StopTimeout"),
    seenIn: ["test/kernel/containers.test.ts", "stop: its signal, else SIGKILL after the timeout; again: not modified"],
    refused: [{ config: { StopSignal: "SIGWAT" }, error: /SIGWAT/ }],
  },
  { of: of("Shell"), shows: [{ config: { Shell: ["/bin/ash", "-c"] }, inspect: (each) => at(each, "Config", "Shell", 0) === "/bin/ash" }] },

  {
    of: host("CpuShares"),
    shows: [{ host: { CpuShares: 512 }, script: cgroup("cpu/cpu.shares", "cpu.weight"), want: isV2 ? /^(20|59)\n/ : "512" }],
    refused: [{ host: { CpuShares: -1 }, error: "invalid CPU shares (-1)" }],
  },
  {
    of: host("Memory"),
    shows: [
      { host: { Memory: 64 << 20 }, script: cgroup("memory/memory.limit_in_bytes", "memory.max"), want: "67108864" },
      // twice as much is no int64, and clients in Go couldn't inspect the container
      { host: { Memory: 2 ** 62 }, script: "true", inspect: (each) => at(each, "HostConfig", "MemorySwap") === -1 },
    ],
    refused: [{ host: { Memory: 1 }, error: "Minimum memory limit allowed is 6MB" }],
  },
  {
    of: host("MemorySwap"),
    shows: [
      {
        host: { Memory: 64 << 20, MemorySwap: 96 << 20 },
        script: cgroup("memory/memory.memsw.limit_in_bytes", "memory.swap.max"),
        want: isV2 ? "33554432" : "100663296",
      },
      {
        host: { Memory: 64 << 20, MemorySwap: -2 },
        script: cgroup("memory/memory.memsw.limit_in_bytes", "memory.swap.max"),
        want: isV2 ? "max" : /^9{1}\d{18}\n/,
      },
    ],
    refused: [{ host: { MemorySwap: 64 << 20 }, error: "You should always set the Memory limit when using Memoryswap limit" }],
  },
  {
    of: host("MemoryReservation"),
    shows: [{ host: { MemoryReservation: 32 << 20 }, script: cgroup("memory/memory.soft_limit_in_bytes", "memory.low"), want: "33554432" }],
  },
  {
    of: host("MemorySwappiness"),
    shows: isV2
      ? [{ host: { MemorySwappiness: 10 }, inspect: (each) => at(each, "HostConfig", "MemorySwappiness") === null }]
      : [{ host: { MemorySwappiness: 10 }, script: "cat /sys/fs/cgroup/memory/memory.swappiness", want: "10" }],
    refused: [{ host: { MemorySwappiness: 101 }, error: "valid memory swappiness range is 0-100" }],
  },
  {
    of: host("OomKillDisable"),
    shows: isV2
      ? [{ host: { OomKillDisable: true }, inspect: (each) => at(each, "HostConfig", "OomKillDisable") === null }]
      : [{ host: { OomKillDisable: true, Memory: 64 << 20 }, script: "cat /sys/fs/cgroup/memory/memory.oom_control", want: "oom_kill_disable 1" }],
  },
  {
    of: host("CgroupParent"),
    shows: [{ host: { CgroupParent: "/berth-test-parent", CgroupnsMode: "host" }, script: "cat /proc/self/cgroup", want: "/berth-test-parent/" }],
    refused: [{ host: { CgroupParent: "/a/../../b" }, error: "invalid cgroup parent" }],
  },
  {
    of: host("NanoCpus"),
    shows: [{ host: { NanoCpus: 5e8 }, script: isV2 ? "cat /sys/fs/cgroup/cpu.max" : "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us", want: "50000" }],
    refused: [{ host: { NanoCpus: 1e9, CpuQuota: 5000 }, error: "Nano CPUs and CPU Quota cannot both be set" }],
  },
  {
    of: host("CpuPeriod", "CpuQuota"),
    shows: [
      {
        host: { CpuPeriod: 50000, CpuQuota: 20000 },
        script: isV2 ? "cat /sys/fs/cgroup/cpu.max" : "cd /sys/fs/cgroup/cpu; cat cpu.cfs_quota_us cpu.cfs_period_us",
        want: /20000\s50000/,
      },
      { host: { CpuQuota: -1 }, script: isV2 ? "cat /sys/fs/cgroup/cpu.max" : "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us", want: /^(max|-1)\b/ },
    ],
  },
  // the host gives groups no real-time budget unless its administrator does
  {
    of: host("CpuRealtimePeriod", "CpuRealtimeRuntime"),
    refused: [{ host: { CpuRealtimePeriod: 1000, CpuRealtimeRuntime: 2000 }, error: /cpu real-time runtime cannot be higher than cpu real-time period/ }],
    seenIn: ["src/runtime/resources.test.ts", "cpu: --cpus is a quota of 100 ms"],
  },
  {
    of: host("CpusetCpus", "CpusetMems"),
    shows: [
      { host: { CpusetCpus: "0", CpusetMems: "0" }, script: "grep _allowed_list /proc/self/status", want: /Cpus_allowed_list:\s0\nMems_allowed_list:\s0\n/ },
    ],
    refused: [{ host: { CpusetCpus: "4000" }, error: "Requested CPUs are not available" }],
  },
  { of: host("PidsLimit"), shows: [{ host: { PidsLimit: 50 }, script: cgroup("pids/pids.max", "pids.max"), want: "50" }] },
  {
    of: host("BlkioWeight", "BlkioWeightDevice.Path", "BlkioWeightDevice.Weight"),
    seenIn: ["src/runtime/support.test.ts", "are dropped with Docker's warnings"],
  },
  ...(["ReadBps", "WriteBps", "ReadIOps", "WriteIOps"] as const).map((name, index): Row => ({
    of: host(`BlkioDevice${name}.Path`, `BlkioDevice${name}.Rate`),
    shows: [
      {
        host: { [`BlkioDevice${name}`]: [{ Path: block, Rate: 1234567 }] },
        script: cgroup(`blkio/blkio.throttle.${["read_bps", "write_bps", "read_iops", "write_iops"][index]}_device`, "io.max"),
        want: new RegExp(`${numbers}.*1234567`),
      },
    ],
  })),
  {
    of: host("Devices.PathOnHost", "Devices.PathInContainer", "Devices.CgroupPermissions"),
    shows: [
      {
        host: { Devices: [{ PathOnHost: device, PathInContainer: "/dev/mine", CgroupPermissions: "r" }] },
        script: "test -c /dev/mine && echo there; (: >/dev/mine) 2>&1",
        want: /there\n.*not permitted/,
      },
      { host: { Devices: [{ PathOnHost: join(root, "link"), PathInContainer: "/dev/linked" }] }, script: "ls -l /dev/linked", want: "1,   5" },
    ],
    refused: [],
  },
  {
    of: host("DeviceCgroupRules"),
    shows: [{ host: { DeviceCgroupRules: ["c 10:229 rw"] }, script: "mknod /fuse c 10 229; (: </fuse) && echo opened", want: "opened" }],
  },
  {
    of: host("DeviceRequests.Driver", "DeviceRequests.DeviceIDs"),
    shows: [
      {
        host: { DeviceRequests: [{ Driver: "cdi", DeviceIDs: ["berth.test/thing=one"] }] },
        script: "echo $THING; test -c /dev/thing && echo device; ls /thing; id -G",
        want: /^one\ndevice\ndir\nfile\nlink\nsub\n0 4242\n/,
      },
    ],
  },
  {
    of: host("DeviceRequests.Count", "DeviceRequests.Capabilities", "DeviceRequests.Options"),
    refused: [
      { host: { DeviceRequests: [{ Driver: "cdi", Count: 1 }] }, error: "unexpected count in CDI device request" },
      { host: { DeviceRequests: [{ Driver: "cdi", Options: { a: "b" } }] }, error: "unexpected options in CDI device request" },
    ],
    seenIn: ["src/runtime/cdi.test.ts", "--gpus finds a vendor's devices"],
  },
  { of: host("Init"), shows: [{ host: { Init: true }, script: "cat /proc/1/comm", want: "docker-init" }] },
  {
    of: host("Ulimits.Name", "Ulimits.Soft", "Ulimits.Hard"),
    shows: [{ host: { Ulimits: [{ Name: "nofile", Soft: 100, Hard: 200 }] }, script: "ulimit -n; ulimit -Hn", want: "100\n200\n" }],
    refused: [{ host: { Ulimits: [{ Name: "wat", Soft: 1, Hard: 1 }] }, error: "invalid ulimit type: wat" }],
  },
  { of: host("CpuCount"), meansNothing: "of Windows; Docker ignores it on Linux" },
  { of: host("CpuPercent"), shows: [{ host: { CpuPercent: 50 }, inspect: (each) => at(each, "HostConfig", "CpuPercent") === 0 }] },
  {
    of: host("IOMaximumIOps", "IOMaximumBandwidth"),
    refused: [
      { host: { IOMaximumIOps: 1 }, error: "QoS maximum IOPs configuration is not supported on linux" },
      { host: { IOMaximumBandwidth: 1 }, error: "QoS maximum bandwidth configuration is not supported on linux" },
    ],
  },

  {
    of: host("Binds"),
    shows: [
      { host: { Binds: [`${dir}:/m:ro`] }, script: "ls /m; touch /m/x 2>&1", want: /sub\n.*Read-only/ },
      // a new volume has what Docker's has: the places of the files that each container gets
      { host: { Binds: ["fields-etc:/etc:ro"] }, script: "ls /etc/hosts; touch /etc/x 2>&1", want: /hosts\n.*Read-only/ },
      { host: { Binds: [`${dir}/dir:/etc`] }, script: "grep -c localhost /etc/hosts; ls /etc", want: /^2\nhostname\nhosts\nresolv.conf\n/ },
    ],
    refused: [{ host: { Binds: [`${dir}:/m:wat`] }, error: "invalid mode: wat" }],
  },
  { of: host("ContainerIDFile"), meansNothing: "the client's own file, which it writes itself; inspect shows its name" },
  {
    of: host("LogConfig.Type", "LogConfig.Config"),
    refused: [
      { host: { LogConfig: { Type: "wat" } }, error: 'plugin "wat" not found' },
      { host: { LogConfig: { Type: "json-file", Config: { wat: "1" } } }, error: "unknown log opt 'wat'" },
    ],
    seenIn: ["test/kernel/containers.test.ts", "logs: follow ends with the run; none can't be read"],
  },
  {
    of: host("NetworkMode"),
    shows: [
      { host: { NetworkMode: "none" }, script: "ls /sys/class/net", want: "lo\n" },
      // who names networks gets those, and not NetworkMode's (which is bridge where nothing is said) beside them
      { network: { mine: {} }, script: "ls /sys/class/net", want: /^eth0\nlo\n$/ },
      { host: { NetworkMode: "bridge" }, network: { mine: {}, bridge: {} }, script: "ls /sys/class/net", want: "eth0\neth1\nlo\n" },
    ],
    refused: [{ host: { NetworkMode: "none" }, network: { mine: {} }, error: "cannot attach a container of network mode host or none to another network" }],
  },
  {
    of: host("PortBindings.HostIp", "PortBindings.HostPort"),
    shows: [
      {
        host: { PortBindings: { "80/tcp": [{ HostIp: "127.0.0.1", HostPort: "18080" }] } },
        inspect: (each) => Bun.deepEquals(at(each, "NetworkSettings", "Ports", "80/tcp"), [{ HostIp: "127.0.0.1", HostPort: "18080" }]),
      },
    ],
    refused: [{ host: { PortBindings: { "80/tcp": [{ HostPort: "x" }] } }, error: "invalid port specification" }],
  },
  {
    of: host("RestartPolicy.Name", "RestartPolicy.MaximumRetryCount"),
    seenIn: ["test/kernel/containers.test.ts", "restart policies"],
    refused: [{ host: { RestartPolicy: { Name: "wat" } }, error: "unknown policy 'wat'" }],
  },
  { of: host("AutoRemove"), seenIn: ["test/kernel/containers.test.ts", "--rm removes it and its anonymous volumes"] },
  {
    of: host("VolumeDriver"),
    shows: [{ host: { VolumeDriver: "local", Binds: ["fields-driver:/m"] }, inspect: (each) => at(each, "Mounts", 0, "Driver") === "local" }],
    refused: [{ host: { VolumeDriver: "nope", Binds: ["fields-driver:/m"] }, error: 'plugin "nope" not found' }],
  },
  {
    of: host("VolumesFrom"),
    shows: [{ host: { VolumesFrom: ["fields-donor:ro"] }, script: "cat /donated/word; touch /donated/x 2>&1", want: /given\n.*Read-only/ }],
    refused: [{ host: { VolumesFrom: ["fields-donor:rslave"] }, error: "invalid mode: rslave" }],
  },
  {
    of: host("Mounts.Target", "Mounts.Source", "Mounts.Type", "Mounts.ReadOnly"),
    shows: [
      { host: mount({ ...bind, ReadOnly: true }), script: "ls /m; touch /m/x 2>&1", want: /sub\n.*Read-only/ },
      { host: mount({ Type: "image", Source: "busybox" }), script: "test -x /m/bin/busybox && echo image; touch /m/x 2>&1", want: /image\n.*Read-only/ },
    ],
    refused: [
      { host: mount({ Type: "wat" }), error: "mount type unknown" },
      { host: mount({ Type: "image", Source: "no-such" }), error: "No such image: no-such:latest" },
    ],
  },
  { of: host("Mounts.Consistency"), meansNothing: "of Docker Desktop's shared folders" },
  {
    of: host("Mounts.BindOptions.Propagation"),
    shows: [
      { host: mount({ ...bind, BindOptions: { Propagation: "private" } }), inspect: (each) => at(each, "Mounts", 0, "Propagation") === "private" },
      { host: mount({ Type: "bind", Source: shared, BindOptions: { Propagation: "rslave" } }), inspect: (each, daemon) => seesMount(each, daemon) },
      // what brings containers' roots along lets them go again
      { host: { Binds: ["/:/m"] }, inspect: (each) => at(each, "Mounts", 0, "Propagation") === "rslave" },
    ],
    refused: [
      { host: mount({ ...bind, BindOptions: { Propagation: "wat" } }), error: "invalid propagation mode: wat" },
      { host: mount({ Type: "bind", Source: "/", BindOptions: { Propagation: "private" } }), error: 'must use either propagation mode "rslave" or "rshared"' },
    ],
  },
  {
    of: host("Mounts.BindOptions.NonRecursive"),
    shows: [
      { host: mount({ ...bind, BindOptions: { NonRecursive: true } }), script: "ls /m/sub", want: /^$/ },
      { host: mount(bind), script: "ls /m/sub", want: "below" },
    ],
  },
  {
    of: host("Mounts.BindOptions.CreateMountpoint"),
    shows: [
      {
        host: mount({ Type: "bind", Source: join(root, "made"), BindOptions: { CreateMountpoint: true } }),
        script: "grep ' /m ' /proc/mounts",
        want: " /m ",
      },
    ],
    refused: [{ host: mount({ Type: "bind", Source: join(root, "absent") }), error: "bind source path does not exist" }],
  },
  {
    of: host("Mounts.BindOptions.ReadOnlyNonRecursive", "Mounts.BindOptions.ReadOnlyForceRecursive"),
    shows: [
      { host: mount({ ...bind, ReadOnly: true }), script: "touch /m/sub/x 2>&1", want: "Read-only" },
      { host: mount({ Type: "bind", Source: join(dir, "file"), ReadOnly: true }), script: "cat /m; (echo x >/m) 2>&1", want: /of the host\n.*Read-only/ },
      { host: mount({ ...bind, ReadOnly: true, BindOptions: { ReadOnlyForceRecursive: true } }), script: "touch /m/sub/x 2>&1", want: "Read-only" },
      {
        host: mount({ ...bind, ReadOnly: true, BindOptions: { ReadOnlyNonRecursive: true } }),
        script: "touch /m/sub/x && echo written; touch /m/x 2>&1",
        want: /written\n.*Read-only/,
      },
    ],
    refused: [
      {
        host: mount({ ...bind, BindOptions: { ReadOnlyForceRecursive: true } }),
        error: "mount options conflict: !ReadOnly && BindOptions.ReadOnlyForceRecursive",
      },
    ],
  },
  {
    of: host("Mounts.VolumeOptions.NoCopy"),
    shows: [
      { host: { Mounts: [{ Type: "volume", Target: "/home", VolumeOptions: { NoCopy: true } }] }, script: "ls /home", want: /^$/ },
      { host: { Mounts: [{ Type: "volume", Target: "/home" }] }, script: "ls /home", want: "worker" },
    ],
  },
  {
    of: host("Mounts.VolumeOptions.Labels"),
    shows: [
      {
        host: mount({ Type: "volume", Source: "fields-labelled", VolumeOptions: { Labels: { a: "b" } } }),
        inspect: async (_, engine) => at(await (await engine.api("GET", "/volumes/fields-labelled")).json(), "Labels", "a") === "b",
      },
    ],
  },
  {
    of: host("Mounts.VolumeOptions.DriverConfig.Name", "Mounts.VolumeOptions.DriverConfig.Options"),
    shows: [
      {
        host: mount({
          Type: "volume",
          Source: "fields-tmpfs",
          VolumeOptions: { DriverConfig: { Name: "local", Options: { type: "tmpfs", device: "tmpfs", o: "size=1m" } } },
        }),
        script: "grep ' /m ' /proc/mounts",
        want: "size=1024k",
      },
    ],
    refused: [{ host: mount({ Type: "volume", VolumeOptions: { DriverConfig: { Name: "nope" } } }), error: 'plugin "nope" not found' }],
  },
  {
    of: host("Mounts.VolumeOptions.Subpath"),
    shows: [{ host: mount({ Type: "volume", Source: "fields-donated", VolumeOptions: { Subpath: "word" } }), script: "cat /m", want: "given" }],
    refused: [
      {
        host: mount({ Type: "volume", Source: "fields-donated", VolumeOptions: { Subpath: "../x" } }),
        error: "subpath must be a relative path within the volume",
      },
    ],
  },
  {
    of: host("Mounts.ImageOptions.Subpath"),
    shows: [{ host: mount({ Type: "image", Source: "busybox", ImageOptions: { Subpath: "home" } }), script: "ls /m", want: "worker" }],
    refused: [{ host: mount({ Type: "image", Source: "busybox", ImageOptions: { Subpath: "/etc" } }), error: "subpath must be a relative path" }],
  },
  {
    of: host("Mounts.TmpfsOptions.SizeBytes", "Mounts.TmpfsOptions.Mode", "Mounts.TmpfsOptions.Options"),
    shows: [
      {
        host: mount({ Type: "tmpfs", TmpfsOptions: { SizeBytes: 1 << 20, Mode: 0o1700, Options: [["exec"]] } }),
        script: "grep ' /m ' /proc/mounts; stat -c %a /m",
        want: /^(?!.*noexec).*size=1024k,mode=1700.*\n1700\n/,
      },
    ],
    refused: [{ host: mount({ Type: "tmpfs", TmpfsOptions: { Options: [["wat"]] } }), error: "invalid option: wat" }],
  },
  {
    of: host("Annotations"),
    shows: [{ host: { Annotations: { "a.b": "c" } }, inspect: (each) => at(each, "HostConfig", "Annotations", "a.b") === "c" }],
    refused: [{ host: { Annotations: { "": "c" } }, error: "the empty string is not permitted as an annotation key" }],
  },
  {
    of: host("CapAdd", "CapDrop"),
    shows: [
      { host: { CapDrop: ["ALL"], CapAdd: ["net_raw", "CAP_KILL"] }, script: capabilities, want: "0000000000002020" },
      { host: { CapAdd: ["ALL"], CapDrop: ["ALL"] }, script: `${capabilities} | grep -c 0000000000000000`, want: "0" },
    ],
    refused: [{ host: { CapAdd: ["WAT"] }, error: 'unknown capability: "WAT"' }],
  },
  {
    of: host("CgroupnsMode"),
    shows: [
      { host: { CgroupnsMode: "private" }, script: "head -1 /proc/self/cgroup", want: /:\/\n/ },
      { host: { CgroupnsMode: "host" }, script: "head -1 /proc/self/cgroup", want: /:\/.*[0-9a-f]{64}\n/ },
    ],
    refused: [{ host: { CgroupnsMode: "wat" }, error: "CgroupnsMode" }],
  },
  {
    of: host("Dns", "DnsOptions", "DnsSearch"),
    shows: [
      {
        host: { Dns: ["9.9.9.9"], DnsOptions: ["ndots:3"], DnsSearch: ["example.com"] },
        script: "cat /etc/resolv.conf",
        want: "nameserver 9.9.9.9\nsearch example.com\noptions ndots:3\n",
      },
    ],
    refused: [
      { host: { Dns: ["wat"] }, error: "invalid IP address: wat" },
      { host: { Dns: ["999.1.1.1"] }, error: "invalid IP address: 999.1.1.1" },
      { host: { DnsSearch: ["a\nnameserver 6.6.6.6"] }, error: "invalid DnsSearch" },
      { host: { DnsOptions: ["a\nnameserver 6.6.6.6"] }, error: "invalid DnsOptions" },
    ],
  },
  {
    of: host("ExtraHosts"),
    shows: [
      {
        host: { ExtraHosts: ["there:1.2.3.4", "gate:host-gateway"] },
        script: "cat /etc/hosts; ip route",
        want: /1\.2\.3\.4\tthere\n([\d.]+)\tgate\n[\s\S]*default via \1 /,
      },
    ],
    refused: [
      { host: { ExtraHosts: ["wat"] }, error: "invalid IP address in add-host" },
      { host: { ExtraHosts: ["there:wat"] }, error: 'invalid IP address in add-host: "there:wat"' },
      { host: { ExtraHosts: ["there:1.2.3.4\n6.6.6.6 other"] }, error: "invalid IP address in add-host" },
    ],
  },
  { of: host("GroupAdd"), shows: [{ host: { GroupAdd: ["wheel", "3000"] }, script: "id -G", want: "0 10 3000" }] },
  {
    of: host("IpcMode"),
    shows: [
      { host: { IpcMode: "none" }, script: "grep -c /dev/shm /proc/mounts", want: /^0\n/ },
      { host: { IpcMode: "container:fields-donor" }, script: "cat /dev/shm/word", want: "shared" },
    ],
    refused: [{ host: { IpcMode: "wat" }, error: "invalid IPC mode: wat" }],
  },
  { of: host("Cgroup"), refused: [{ host: { Cgroup: "container:x" }, error: "Cgroup" }] },
  {
    of: host("Links"),
    shows: [{ host: { Links: ["fields-donor:gift"] }, script: "echo $GIFT_PORT_80_TCP_PORT $GIFT_ENV_WORD; grep -c gift /etc/hosts", want: "80 up\n1\n" }],
    refused: [{ host: { Links: ["no-such:x"] }, error: "could not get container for no-such" }],
  },
  {
    of: host("OomScoreAdj"),
    shows: [
      { host: { OomScoreAdj: 500 }, script: "cat /proc/self/oom_score_adj", want: "500" },
      {
        host: { OomScoreAdj: 500 },
        inspect: async (each, engine) => (await engine.ok("exec", String(each["Id"]), "cat", "/proc/self/oom_score_adj")) === "500",
      },
    ],
    refused: [{ host: { OomScoreAdj: 1001 }, error: "range for oom score adj is [-1000, 1000]" }],
  },
  {
    of: host("PidMode"),
    shows: [{ host: { PidMode: "container:fields-donor" }, script: "ps -o args", want: "sleep 1000" }],
    refused: [{ host: { PidMode: "wat" }, error: "invalid PID mode: wat" }],
  },
  {
    of: host("Privileged"),
    shows: [{ host: { Privileged: true }, script: `grep Seccomp: /proc/self/status; test -e ${block} && echo devices`, want: /Seccomp:\s0\ndevices/ }],
  },
  {
    of: host("ReadonlyRootfs"),
    shows: [
      { host: { ReadonlyRootfs: true }, script: "touch /x 2>&1; grep ' /sys ' /proc/mounts", want: /Read-only[\s\S]* sysfs ro,/ },
      { host: { ReadonlyRootfs: true, Privileged: true }, script: "touch /x 2>&1; grep ' /sys ' /proc/mounts", want: /Read-only[\s\S]* sysfs rw,/ },
    ],
  },
  {
    of: host("SecurityOpt"),
    shows: [
      { host: { SecurityOpt: ["seccomp=unconfined"] }, script: "grep Seccomp: /proc/self/status", want: /Seccomp:\s0/ },
      { host: { SecurityOpt: ["seccomp="] }, script: "grep Seccomp: /proc/self/status", want: /Seccomp:\s2/ },
      {
        host: {
          SecurityOpt: [
            `seccomp=${JSON.stringify({ defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 1 }] })}`,
          ],
        },
        script: "mkdir /x 2>&1",
        want: "not permitted",
      },
      { host: { SecurityOpt: ["no-new-privileges"] }, script: "grep NoNewPrivs /proc/self/status", want: /NoNewPrivs:\s1/ },
      { host: { SecurityOpt: ["systempaths=unconfined"] }, script: "grep -c /proc/ /proc/mounts", want: /^0\n/ },
      { host: { SecurityOpt: ["writable-cgroups"] }, script: "grep /sys/fs/cgroup /proc/mounts | grep -c ' ro,'", want: /^0\n/ },
    ],
    refused: [
      { host: { SecurityOpt: ["wat=1"] }, error: 'invalid --security-opt 2: "wat=1"' },
      { host: { SecurityOpt: ["seccomp={"] }, error: "decoding seccomp profile failed" },
    ],
  },
  {
    of: host("StorageOpt"),
    refused: [
      { host: { StorageOpt: { wat: "1" } }, error: 'unknown storage option "wat"' },
      { host: { StorageOpt: { size: "x" } }, error: "invalid size: 'x'" },
    ],
    seenIn: ["test/guest/scenario.ts", "a storage limit holds"],
  },
  {
    of: host("Tmpfs"),
    shows: [
      { host: { Tmpfs: { "/t": "size=1m,exec" } }, script: "grep ' /t ' /proc/mounts", want: /^(?!.*noexec).*size=1024k/ },
      { host: { Tmpfs: { "/t": "defaults,mpol=default,rshared" } }, script: "grep -c '^tmpfs /t tmpfs' /proc/mounts", want: /^1\n/ },
      {
        host: { Tmpfs: { "/t": "rshared", "/u": "unbindable", "/v": "slave" } },
        script: "grep -oE ' /[tuv] |shared:|unbindable' /proc/self/mountinfo",
        want: /^ \/t \nshared:\n \/u \nunbindable\n \/v \n$/,
      },
      // everybody's, but for what hides a directory of the image; also in the next run, which finds the one made for the first
      { host: { Tmpfs: { "/t": "", "/etc": "", "/bin/x": "mode=711" } }, script: "stat -c %a /t /etc /bin/x", want: "1777\n755\n711\n" },
      {
        host: { Tmpfs: { "/t": "" } },
        inspect: async (each, engine) => {
          await engine.ok("restart", "-t", "0", String(each["Id"]));
          return (await engine.ok("exec", String(each["Id"]), "stat", "-c", "%a", "/t")) === "1777";
        },
      },
    ],
    refused: [{ host: { Tmpfs: { "/t": "wat" } }, error: 'invalid tmpfs option "wat"' }],
  },
  {
    of: host("UTSMode"),
    shows: [{ host: { UTSMode: "host" }, script: "readlink /proc/self/ns/uts; readlink /host-uts", want: /uts/ }],
    refused: [{ host: { UTSMode: "wat" }, error: "invalid UTS mode: wat" }],
  },
  {
    of: host("UsernsMode"),
    shows: [{ host: { UsernsMode: "host" }, script: "cat /proc/self/uid_map", want: /0\s+0\s+4294967295/ }],
    refused: [{ host: { UsernsMode: "wat" }, error: /invalid .*wat/ }],
  },
  {
    of: host("ShmSize"),
    shows: [{ host: { ShmSize: 1 << 20 }, script: "grep /dev/shm /proc/mounts", want: "size=1024k" }],
    refused: [{ host: { ShmSize: -1 }, error: "SHM size can not be less than 0" }],
  },
  {
    of: host("Sysctls"),
    shows: [{ host: { Sysctls: { "net.core.somaxconn": "99" } }, script: "cat /proc/sys/net/core/somaxconn", want: "99" }],
    refused: [{ host: { Sysctls: { "net.ipv4.conf.eth0.forwarding": "1" } }, error: "must be supplied using driver option" }],
  },
  {
    of: host("Runtime"),
    shows: [{ host: { Runtime: "io.containerd.runc.v2" }, script: "echo ran", want: "ran" }],
    refused: [{ host: { Runtime: "wat" }, error: "unknown or invalid runtime name: wat" }],
  },
  {
    of: host("Isolation"),
    shows: [{ host: { Isolation: "default" }, script: "echo ran", want: "ran" }],
    refused: [{ host: { Isolation: "hyperv" }, error: "linux only supports 'default'" }],
  },
  {
    of: host("MaskedPaths", "ReadonlyPaths"),
    shows: [{ host: { MaskedPaths: ["/etc"], ReadonlyPaths: ["/tmp"] }, script: "ls /etc | grep -c passwd; touch /tmp/x 2>&1", want: /^0\n.*Read-only/ }],
  },

  {
    of: endpoint("IPAMConfig.IPv4Address", "IPAMConfig.LinkLocalIPs"),
    shows: [
      {
        ...on({ IPAMConfig: { IPv4Address: "10.77.0.9", LinkLocalIPs: ["169.254.9.9"] } }),
        script: "ip -4 addr show dev eth0",
        want: /169\.254\.9\.9\/16[\s\S]*10\.77\.0\.9\/24/,
      },
    ],
    refused: [{ ...on({ IPAMConfig: { IPv4Address: "wat" } }), error: "invalid IPv4 address: wat" }],
  },
  {
    of: endpoint("IPAMConfig.IPv6Address"),
    shows: [{ ...on({ IPAMConfig: { IPv6Address: "fd77::9" } }), script: "ip -6 addr show dev eth0", want: "fd77::9/64" }],
  },
  { of: endpoint("Links"), shows: [{ ...on({ Links: ["fields-peer:friend"] }), script: "nslookup friend 127.0.0.11", want: /Address.*10\.77\.0\.2/ }] },
  {
    of: endpoint("MacAddress"),
    shows: [{ ...on({ MacAddress: "02:42:0a:00:00:99" }), script: "cat /sys/class/net/eth0/address", want: "02:42:0a:00:00:99" }],
    refused: [{ ...on({ MacAddress: "wat" }), error: "invalid MAC address: wat" }],
  },
  { of: endpoint("Aliases"), shows: [{ ...on({ Aliases: ["me-too"] }), script: "nslookup me-too 127.0.0.11", want: /Address.*10\.77\.0\./ }] },
  {
    of: endpoint("DriverOpts"),
    shows: [
      {
        ...on({ DriverOpts: { "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1", "com.docker.network.endpoint.ifname": "wan0" } }),
        script: "cat /proc/sys/net/ipv4/conf/wan0/log_martians",
        want: "1",
      },
    ],
    refused: [{ ...on({ DriverOpts: { "com.docker.network.endpoint.sysctls": "wat=1" } }), error: "unrecognised network interface sysctl" }],
  },
  {
    of: endpoint("GwPriority"),
    shows: [{ host: { NetworkMode: "mine" }, network: { mine: {}, other: { GwPriority: 1 } }, script: "ip route", want: "default via 10.78.0.1" }],
  },
  {
    of: endpoint("NetworkID", "EndpointID", "Gateway", "IPAddress", "IPPrefixLen", "IPv6Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "DNSNames"),
    meansNothing: "what inspect answers; clients send it back as it was",
  },
];

const engine = await (skipped("root", "overlay") ? undefined : Engine.start(["--cdi-spec-dir", join(root, "cdi")]));

beforeAll(async () => {
  if (engine === undefined) return;
  mkdirSync(join(dir, "sub"), { recursive: true });
  mkdirSync(join(root, "cdi"));
  symlinkSync("/dev/zero", join(root, "link"));
  symlinkSync("/dev/zero", join(dir, "link"));
  mkdirSync(join(dir, "dir"));
  writeFileSync(join(dir, "file"), "of the host\n");
  const edits = {
    env: ["THING=one"],
    deviceNodes: [{ path: "/dev/thing", hostPath: "/dev/zero" }],
    mounts: [{ hostPath: dir, containerPath: "/thing", options: ["ro", "bind"] }],
    additionalGids: [4242],
  };
  writeFileSync(
    join(root, "cdi/berth.json"),
    JSON.stringify({ cdiVersion: "0.7.0", kind: "berth.test/thing", devices: [{ name: "one", containerEdits: edits }] }),
  );
  await mountBelow();
  mkdirSync(shared);
  Bun.spawnSync(["sh", "-c", 'mount -t tmpfs none "$0" && mount --make-shared "$0" && mkdir "$0/later"', shared]);
  await engine.importBusybox();
  await engine.ok("network", "create", "--subnet", "10.77.0.0/24", "--ipv6", "--subnet", "fd77::/64", "mine");
  await engine.ok("network", "create", "--subnet", "10.78.0.0/24", "other");
  const donor = ["--ipc", "shareable", "-v", "fields-donated:/donated", "--expose", "80", "-e", "WORD=up"];
  await engine.ok(
    "run",
    "-d",
    "--name",
    "fields-donor",
    ...donor,
    "busybox",
    "sh",
    "-c",
    "echo given >/donated/word; echo shared >/dev/shm/word; exec sleep 1000",
  );
  await engine.ok("run", "-d", "--name", "fields-peer", "--network", "mine", "--ip", "10.77.0.2", "busybox", "sleep", "1000");
});

afterAll(async () => {
  await engine?.[Symbol.asyncDispose]();
  Bun.spawnSync(["umount", join(dir, "sub")]);
  Bun.spawnSync(["umount", shared]);
  for (const parent of readFileSync("/proc/mounts", "utf8").matchAll(/^\S+ (\/sys\/fs\/cgroup\S*) cgroup/gm))
    Bun.spawnSync(["rmdir", `${parent[1]}/berth-test-parent`]);
  rmSync(root, { recursive: true, force: true });
});

/** A tmpfs below the bound directory. */
async function mountBelow(): Promise<void> {
  const { exitCode, stderr } = Bun.spawnSync(["mount", "-t", "tmpfs", "below", join(dir, "sub")]);
  if (exitCode !== 0) throw new Error(stderr.toString());
  writeFileSync(join(dir, "sub/below"), "");
}

/** Whether a mount made on the host while the container runs is seen in it. */
async function seesMount(inspect: Json, daemon: Engine): Promise<boolean> {
  const place = join(shared, "later");
  Bun.spawnSync(["sh", "-c", 'mount -t tmpfs none "$0" && touch "$0/told"', place]);
  try {
    return (await daemon.ok("exec", String(inspect["Id"]), "ls", "/m/later")) === "told";
  } finally {
    Bun.spawnSync(["umount", place]);
  }
}

function bodyOf({ config, host: hostConfig, network, script }: Shows): Json {
  return {
    Image: "busybox",
    Cmd: script === undefined ? ["sleep", "1000"] : ["sh", "-c", script],
    ...config,
    HostConfig: hostConfig,
    ...(network === undefined ? {} : { NetworkingConfig: { EndpointsConfig: network } }),
  };
}

async function create(each: Shows): Promise<Response> {
  if (engine === undefined) throw new Error("skipped");
  return await engine.api("POST", `/v1.55/containers/create${each.query === undefined ? "" : `?${each.query}`}`, bodyOf(each));
}

async function show(each: Shows): Promise<void> {
  if (engine === undefined) return;
  const created = await create(each);
  const answer = (await created.json()) as { Id: string; message?: string };
  if (created.status !== 201) throw new Error(answer.message);
  try {
    const started = await engine.api("POST", `/containers/${answer.Id}/start`);
    if (started.status !== 204) throw new Error(await started.text());
    if (each.want !== undefined) {
      await (await engine.api("POST", `/containers/${answer.Id}/wait`)).text();
      const bytes = Buffer.from(await (await engine.api("GET", `/containers/${answer.Id}/logs?stdout=1&stderr=1`)).arrayBuffer());
      const output = each.config?.["Tty"] === true ? bytes.toString().replaceAll("\r\n", "\n") : payloadOf(bytes).toString();
      if (typeof each.want === "string") expect(output).toContain(each.want);
      else expect(output).toMatch(each.want);
    }
    if (each.inspect !== undefined) {
      const inspect = (await (await engine.api("GET", `/v1.51/containers/${answer.Id}/json`)).json()) as Json;
      expect(await each.inspect(inspect, engine)).toBe(true);
    }
  } finally {
    await engine.api("DELETE", `/containers/${answer.Id}?force=1&v=1`);
  }
}

test("every field of create in the API stands in the table, once", () => {
  expect(rows.flatMap((row) => row.of).sort()).toEqual([...fields].sort());
  for (const { shows = [], seenIn, refused = [], meansNothing } of rows)
    expect(shows.length + refused.length + (seenIn === undefined ? 0 : 1) + (meansNothing === undefined ? 0 : 1)).toBeGreaterThan(0);
});

test("tests that the table names are there", () => {
  for (const { seenIn } of rows)
    if (seenIn !== undefined) expect(readFileSync(resolve(import.meta.dir, "../..", seenIn[0]), "utf8")).toContain(JSON.stringify(seenIn[1]));
});

describe.skipIf(engine === undefined)("create", () => {
  for (const { of: names, shows = [], refused = [] } of rows) {
    const title = names.map((name) => name.replace(/^HostConfig\./, "").replace(/^NetworkingConfig\.EndpointsConfig\./, "endpoint ")).join(", ");
    if (shows.length > 0) {
      test(`${title}: effective`, async () => {
        for (const each of shows) await show(each);
      });
    }
    if (refused.length > 0) {
      test(`${title}: refused where it can't be honoured`, async () => {
        for (const each of refused) {
          const answer = await create(each);
          const { message, Id } = (await answer.json()) as { message?: string; Id?: string };
          if (Id !== undefined) await engine?.api("DELETE", `/containers/${Id}?force=1`);
          if (typeof each.error === "string") expect(message).toContain(each.error);
          else expect(message).toMatch(each.error);
          expect([400, 404]).toContain(answer.status);
        }
      });
    }
  }

  test("Links: a linked container may be renamed, and its next address is told", async () => {
    if (engine === undefined) return;
    const idle = ["busybox", "sleep", "1000"];
    await engine.ok("run", "-d", "--name", "linked", ...idle);
    await engine.ok("run", "-d", "--name", "linking", "--link", "linked:friend", ...idle);
    await engine.ok("rename", "linked", "renamed");
    await engine.ok("stop", "-t", "0", "renamed");
    // takes the address
    await engine.ok("run", "-d", "--name", "squatter", ...idle);
    await engine.ok("start", "renamed");
    const address = await engine.ok("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "renamed");
    expect(await engine.ok("exec", "linking", "grep", "friend", "/etc/hosts")).toStartWith(`${address}\tfriend `);
    await engine.ok("restart", "-t", "0", "linking");
    expect(await engine.ok("exec", "linking", "ping", "-c1", "-W5", "friend")).toContain(`(${address})`);
    await engine.ok("rm", "-f", "linking", "renamed", "squatter");
  });
});
