import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseDaemonOptions } from "./options.ts";
import { applyReload, reloadAttributes } from "./reload.ts";

function withConfig<T>(text: string, work: (path: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "berth-options-"));
  try {
    writeFileSync(join(folder, "daemon.json"), text);
    return work(join(folder, "daemon.json"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("defaults name a socket and a pid file under the run root", () => {
  const options = parseDaemonOptions(["--exec-root", "/run/x", "--config-file", "/dev/null"]);
  expect(options.hosts).toEqual(["unix:///run/x/berth.sock"]);
  expect(options.pidfile).toBe("/run/x/berth.pid");
  expect(options.liveRestore).toBe(true);
  // the host decides: crun, or runc where crun can't serve
  expect(options.defaultRuntime).toBe("");
});

test("flags in all their forms", () => {
  const options = parseDaemonOptions([
    ...["--config-file", "/dev/null", "-H", "unix:///a", "--host=tcp://127.0.0.1:1", "--live-restore=false", "-D"],
    ...["--log-opt", "max-size=1m", "--log-opt=max-file=2", "--shutdown-timeout=3", "--default-ulimit", "nofile=10:20", "--add-runtime=x=/bin/x"],
  ]);
  expect(options.hosts).toEqual(["unix:///a", "tcp://127.0.0.1:1"]);
  expect(options.liveRestore).toBe(false);
  expect(options.debug).toBe(true);
  expect(options.logOpts).toEqual({ "max-size": "1m", "max-file": "2" });
  expect(options.shutdownTimeout).toBe(3);
  expect(options.defaultUlimits).toEqual({ nofile: { Name: "nofile", Soft: 10, Hard: 20 } });
  expect(options.runtimes).toEqual({ x: { path: "/bin/x" } });
});

test("the flags with which other projects' suites start an engine", () => {
  const argv =
    "--config-file /dev/null --data-root /d --exec-root /e --pidfile /p --containerd-namespace n --containerd /c --userland-proxy=false --host unix:///s --debug";
  expect(parseDaemonOptions(argv.split(" "))).toMatchObject({ dataRoot: "/d", execRoot: "/e", pidfile: "/p", hosts: ["unix:///s"] });
});

test.each([
  [["--nope"], "unknown flag --nope"],
  [["--bip"], "flag needs an argument"],
  [["--debug=maybe"], "true or false"],
  [["--shutdown-timeout", "soon"], "whole number"],
  [["--rootless"], "not supported yet"],
  [["--selinux-enabled"], "not supported yet"],
  [["--storage-driver", "zfs"], "overlay2"],
  [["word"], "unexpected argument"],
])("%p is refused with a sentence", (argv, message) => {
  expect(() => parseDaemonOptions(["--config-file", "/dev/null", ...argv])).toThrow(message);
});

test("daemon.json gives settings, and is refused where it contradicts the command line or itself", () => {
  withConfig('{"debug": true, "default-address-pools": [{"base": "10.0.0.0/8", "size": 24}], "runtimes": {"r": {"path": "/r"}}}', (path) => {
    expect(parseDaemonOptions(["--config-file", path])).toMatchObject({
      debug: true,
      defaultAddressPools: [{ base: "10.0.0.0/8", size: 24 }],
      runtimes: { r: { path: "/r" } },
    });
    expect(() => parseDaemonOptions(["--config-file", path, "--debug=false"])).toThrow(
      `unable to configure the daemon with file ${path}: the following directives are specified both as a flag and in the configuration file: debug: (from flag: false, from file: true)`,
    );
    // runtimes alone are merged
    expect(parseDaemonOptions(["--config-file", path, "--add-runtime", "s=/s"]).runtimes).toEqual({ r: { path: "/r" }, s: { path: "/s" } });
  });
  withConfig('{"debug": "yes"}', (path) => expect(() => parseDaemonOptions(["--config-file", path])).toThrow("want bool"));
  withConfig('{"labels": [1]}', (path) => expect(() => parseDaemonOptions(["--config-file", path])).toThrow("labels: want a list of texts"));
  withConfig('{"dbug": true}', (path) =>
    expect(() => parseDaemonOptions(["--config-file", path])).toThrow("the following directives don't match any configuration option: dbug"),
  );
  withConfig("{", (path) => expect(() => parseDaemonOptions(["--config-file", path])).toThrow("invalid JSON"));
  withConfig("[]", (path) => expect(() => parseDaemonOptions(["--config-file", path])).toThrow("want an object"));
  expect(() => parseDaemonOptions(["--config-file", "/nowhere/daemon.json"])).toThrow("unable to configure the daemon with file /nowhere/daemon.json");
});

test("lists that stand on the command line and in the file are a contradiction too, passwords stay out of the sentence", () => {
  withConfig('{"labels": ["a=b"], "proxies": {"http-proxy": "http://me:hunter2@proxy:1"}}', (path) => {
    expect(parseDaemonOptions(["--config-file", path])).toMatchObject({ labels: ["a=b"], httpProxy: "http://me:hunter2@proxy:1" });
    const clash = (): unknown => parseDaemonOptions(["--config-file", path, "--label", "c=d", "--http-proxy", "http://you:secret@proxy:2"]);
    expect(clash).toThrow("labels: (from flag: [c=d], from file: [a=b])");
    expect(clash).toThrow("http-proxy: (from flag: http://xxxxx:xxxxx@proxy:2/, from file: http://xxxxx:xxxxx@proxy:1/)");
  });
});

test("drop-ins follow the file in lexical order: lists grow, maps are joined, the rest is replaced", () => {
  withConfig('\ufeff{"debug": true, "labels": ["a=1"], "log-opts": {"max-size": "1m", "max-file": "2"}, "shutdown-timeout": 1}', (path) => {
    mkdirSync(`${path}.d`);
    writeFileSync(`${path}.d/20-b.json`, '{"shutdown-timeout": 3, "labels": ["c=3"], "proxies": {"no-proxy": "x"}}');
    writeFileSync(`${path}.d/10-a.json`, '{"shutdown-timeout": 2, "labels": ["b=2"], "log-opts": {"max-size": "9m"}, "debug": false}');
    writeFileSync(`${path}.d/30-c.conf`, "not read");
    expect(parseDaemonOptions(["--config-file", path])).toMatchObject({
      debug: false,
      labels: ["a=1", "b=2", "c=3"],
      logOpts: { "max-size": "9m", "max-file": "2" },
      shutdownTimeout: 3,
      noProxy: "x",
    });
    writeFileSync(`${path}.d/40-d.json`, "{nope");
    expect(() => parseDaemonOptions(["--config-file", path])).toThrow("40-d.json: invalid JSON");
  });
});

test.each([
  ["labels", ["novalue"], "bad attribute format: novalue"],
  ["labels", ["a=1", "a=2"], "conflict labels for a=2 and a=1"],
  ["dns", ["nope"], "invalid IP address: nope"],
  ["host-gateway-ips", ["nope"], "invalid host-gateway-ip: nope: want IP addresses"],
  ["host-gateway-ips", ["10.0.0.1", "10.0.0.2"], "only one IPv4 and one IPv6 host-gateway-ip can be specified"],
  ["host-gateway-ip", "nope", "invalid host-gateway-ip: nope: want IP addresses"],
  ["host-gateway-ip", ["10.0.0.1"], "host-gateway-ip: want string"],
  ["min-api-version", "1.23", "invalid minimum API version (1.23): must be between 1.24 and 1.55"],
  ["min-api-version", "1.56", "invalid minimum API version (1.56)"],
  ["min-api-version", "v1.40", "invalid minimum API version (v1.40)"],
  ["storage-opts", ["overlay2.size"], "must be formatted 'key=value'"],
  ["storage-opts", ["overlay2.size=much"], "invalid size: 'much'"],
  ["storage-opts", ["overlay2.override_kernel_check=true"], "overlay2: unknown option overlay2.override_kernel_check"],
  ["cpu-rt-runtime", -1, "must not be negative"],
  ["dns-search", ["-x"], "invalid domain: -x"],
  ["exec-opts", ["native.cgroupdriver=systemd"], "not supported yet"],
  ["exec-opts", ["x"], "must be formatted 'opt=value'"],
  ["log-level", "loud", "invalid logging level: loud"],
  ["log-format", "xml", "invalid log format: xml"],
  ["metrics-addr", "x", "invalid metrics address"],
  ["max-concurrent-downloads", -1, "invalid max concurrent downloads: -1"],
  ["max-layer-entries", -1, "invalid max layer entries: -1"],
  ["max-layer-size", "much", "max-layer-size"],
  ["default-address-pools", [{ base: "10.0.0.0/8", size: 4 }], "invalid pool size 4"],
  ["default-address-pools", [{ base: "x", size: 4 }], "invalid base pool"],
  ["registry-mirrors", ["nope"], "mirror"],
  ["mirrors", { "quay.io": 5 }, "mirrors.quay.io: want a URL or a list of them"],
  ["mirrors", { "quay.io": ["nope"] }, "invalid mirror"],
  ["mirrors", { "https://quay.io": "https://x" }, "is no registry"],
  ["runtimes", { x: { runtimeType: "io.containerd.runsc.v1" } }, "runtimeType needs containerd"],
  ["runtimes", { x: {} }, "runtimes.x: want a path"],
  ["features", { buildkit: "maybe" }, "feature buildkit: want true or false"],
  ["authorization-plugins", ["x"], "--authorization-plugin=[x] is not supported yet"],
  ["log-driver", "nope", "there are journald, json-file"],
  ["log-opts", { "max-file": 3 }, "log-opts: want texts as values"],
  ["default-ulimits", { nofile: 5 }, "default-ulimits.nofile: want"],
  ["default-address-pools", [null], "want base=CIDR,size=N"],
  ["bip", "nonsense", "invalid CIDR address: nonsense"],
  ["ip", "nonsense", "invalid IP address: nonsense"],
  ["bridge", "a-name-that-is-too-long", "invalid bridge name"],
  ["default-runtime", "nope", "the default runtime nope is not known"],
  ["default-shm-size", "many", "invalid size: 'many'"],
  ["default-ipc-mode", "host", "not supported as default value"],
  ["default-stop-timeout", -1, "invalid default stop timeout: -1"],
  ["mtu", -1, "invalid default MTU: -1"],
  ["bip6", "10.0.0.1/24", "invalid CIDR address: 10.0.0.1/24"],
  ["fixed-cidr", "10.0.0.0", "parse fixed-cidr failed: invalid CIDR address: 10.0.0.0"],
  ["fixed-cidr-v6", "10.0.0.0/8", "invalid fixed-cidr-v6: '10.0.0.0/8' is not a valid IPv6 subnet"],
  ["fixed-cidr-v6", "ff02::/16", "invalid fixed-cidr-v6: multicast subnet 'ff02::/16' is not allowed"],
  ["default-gateway", "fd00::1", "invalid IP address: fd00::1"],
  ["default-gateway-v6", "10.0.0.1", "invalid IP address: 10.0.0.1"],
  ["bridge-accept-fwmark", "red", 'invalid firewall mark "red"'],
  ["bridge-accept-fwmark", "1/0x1ffffffff", 'invalid firewall mask "0x1ffffffff"'],
  ["default-network-opts", { bridge: "x" }, "default-network-opts: want maps"],
  ["default-network-opts", { bridge: { x: 1 } }, "default-network-opts: want maps"],
])("%s: %j is refused", (key, value, message) => {
  withConfig(JSON.stringify({ [key]: value }), (path) => expect(() => parseDaemonOptions(["--config-file", path])).toThrow(message));
});

test.each<[string, string]>([
  ["--bip 172.20.0.0/16", 'invalid --bip "172.20.0.0/16"'],
  ["--bip 172.20.255.255/16", "failed to allocate gateway (172.20.255.255)"],
  ["--ipv6 --bip6 fd00:a::/64", 'invalid --bip6 "fd00:a::/64"'],
  ["--bip 172.20.0.1/16 --fixed-cidr 172.21.0.0/24", "--fixed-cidr 172.21.0.0/24 is outside the subnet 172.20.0.0/16"],
  ["--ipv6 --bip6 fd00:1::1/64 --fixed-cidr-v6 fd00:2::/80", "--fixed-cidr-v6 fd00:2::/80 is outside the subnet fd00:1::/64"],
  ["--fixed-cidr 10.1.0.0/24 --default-gateway 10.2.0.1", "--default-gateway 10.2.0.1 is outside the subnet 10.1.0.0/24"],
  ["--default-address-pool base=fd00::/8,size=64", "all predefined address pools have been fully subnetted"],
  ["--default-address-pool base=127.0.0.0/8,size=24", "all predefined address pools have been fully subnetted"],
  ["--mtu 67", "invalid MTU number: 67"],
  ["--mtu 1000 --ipv6", "IPv6 needs 1280 at least"],
])("what the default network could not be made of is refused before the start: %s", (text, message) => {
  expect(() => parseDaemonOptions(text.split(" "))).toThrow(message);
  expect(parseDaemonOptions([...text.split(" "), "--bridge", "none"]).bridge).toBe("none");
});

test("an older file's one host-gateway-ip is the list's one address, and stands beside neither the list nor the flag", () => {
  withConfig('{"host-gateway-ip": "10.0.0.1"}', (path) => {
    expect(parseDaemonOptions(["--config-file", path]).hostGatewayIps).toEqual(["10.0.0.1"]);
    expect(() => parseDaemonOptions(["--config-file", path, "--host-gateway-ip", "10.0.0.2"])).toThrow(
      "the following directives are specified both as a flag and in the configuration file: host-gateway-ip: (from flag: [10.0.0.2], from file: 10.0.0.1)",
    );
  });
  withConfig('{"host-gateway-ip": "", "storage-opts": ["Overlay2.Size = 1g"]}', (path) =>
    expect(parseDaemonOptions(["--config-file", path])).toMatchObject({ hostGatewayIps: [], storageOpts: ["Overlay2.Size = 1g"] }),
  );
  withConfig('{"host-gateway-ip": "10.0.0.1", "host-gateway-ips": []}', (path) =>
    expect(() => parseDaemonOptions(["--config-file", path])).toThrow("host-gateway-ip and host-gateway-ips must not both be specified in the config file"),
  );
});

test("options of new networks are given by driver, one flag each", () => {
  const flags = ["bridge=com.docker.network.driver.mtu=1400", "bridge=a=b=c", "macvlan=parent=eth0"].flatMap((each) => ["--default-network-opt", each]);
  const expected = { bridge: { "com.docker.network.driver.mtu": "1400", a: "b=c" }, macvlan: { parent: "eth0" } };
  expect(parseDaemonOptions(["--config-file", "/dev/null", ...flags]).defaultNetworkOpts).toEqual(expected);
  withConfig(JSON.stringify({ "default-network-opts": expected }), (path) =>
    expect(parseDaemonOptions(["--config-file", path]).defaultNetworkOpts).toEqual(expected),
  );
});

test("null leaves a setting as it is, and so does an empty text where one must be there", () => {
  withConfig('{"debug": null, "labels": null, "log-level": "", "data-root": "", "exec-root": ""}', (path) => {
    expect(parseDaemonOptions(["--config-file", path])).toMatchObject({
      ...{ debug: false, labels: [], logLevel: "info" },
      ...{ dataRoot: "/var/lib/berth", execRoot: "/run/berth", pidfile: "/run/berth/berth.pid" },
    });
  });
});

test("sizes have Docker's units", () => {
  for (const [text, size] of [
    ["64M", 64 << 20],
    ["1g", 1 << 30],
    [1024, 1024],
    ["1.5 kb", 1536],
  ] as const) {
    withConfig(JSON.stringify({ "default-shm-size": text }), (path) => expect(parseDaemonOptions(["--config-file", path]).shmSize).toBe(size));
  }
});

test("TLS without a host means TCP, and --tlsverify means TLS", () => {
  expect(parseDaemonOptions(["--config-file", "/dev/null", "--tlsverify"])).toMatchObject({ tls: true, tlsverify: true, hosts: ["tcp://127.0.0.1:2376"] });
  expect(parseDaemonOptions(["--config-file", "/dev/null", "--tlsverify=false"])).toMatchObject({ tls: true, tlsverify: false });
});

test("a reload takes over what can change in a running engine, and names the rest", () => {
  const options = parseDaemonOptions(["--config-file", "/dev/null"]);
  const next = parseDaemonOptions([
    "--config-file",
    "/dev/null",
    "--debug",
    "--label",
    "a=b",
    "--bip",
    "10.9.0.1/24",
    "--feature",
    "y=true",
    "--feature",
    "x=false",
  ]);
  expect(applyReload(options, next)).toEqual(["bip"]);
  expect(options).toMatchObject({ debug: true, labels: ["a=b"], bip: "" });
  expect(reloadAttributes(options, { defaultRuntime: "crun", cgroupnsMode: "host" })).toMatchObject({
    debug: "true",
    labels: '["a=b"]',
    features: "map[x:false y:true]",
    "default-runtime": "crun",
  });
});
