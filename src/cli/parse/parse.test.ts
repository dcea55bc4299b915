import { describe, expect, test } from "bun:test";
import { parseBytes, parseSignedBytes } from "../../lib/bytes.ts";
import { keyValues, parseLines, readEnvironment } from "./env.ts";
import { parseFilters } from "./filters.ts";
import { parseDevice, parseGpus, parseRestart, parseThrottle, parseUlimit, parseWeightDevice } from "./limits.ts";
import { csvFields, parseMount, parseTmpfs, parseVolumes } from "./mounts.ts";
import { parseExtraHost, parseNetwork } from "./networks.ts";
import { parseExpose, parsePublish } from "./ports.ts";
import { subnetContains } from "./subnets.ts";
import { parseSince } from "./time.ts";

describe("-p", () => {
  const bindings = (...specs: string[]) => parsePublish(specs).bindings;
  test("takes every form of Docker's", () => {
    expect(bindings("80")).toEqual({ "80/tcp": [{ HostIp: "", HostPort: "" }] });
    expect(bindings("8080:80")).toEqual({ "80/tcp": [{ HostIp: "", HostPort: "8080" }] });
    expect(bindings("127.0.0.1:53:53/udp")).toEqual({ "53/udp": [{ HostIp: "127.0.0.1", HostPort: "53" }] });
    expect(bindings("127.0.0.1::80")).toEqual({ "80/tcp": [{ HostIp: "127.0.0.1", HostPort: "" }] });
    expect(bindings("[::1]:8080:80")).toEqual({ "80/tcp": [{ HostIp: "::1", HostPort: "8080" }] });
    expect(bindings("1000-1001:2000-2001")).toEqual({ "2000/tcp": [{ HostIp: "", HostPort: "1000" }], "2001/tcp": [{ HostIp: "", HostPort: "1001" }] });
    expect(bindings("8000-8010:80")).toEqual({ "80/tcp": [{ HostIp: "", HostPort: "8000-8010" }] });
    expect(bindings("80:80", "81:80")).toEqual({
      "80/tcp": [
        { HostIp: "", HostPort: "80" },
        { HostIp: "", HostPort: "81" },
      ],
    });
    expect(bindings("target=80,published=8080,protocol=udp,host_ip=10.0.0.1")).toEqual({ "80/udp": [{ HostIp: "10.0.0.1", HostPort: "8080" }] });
    expect(parsePublish(["8080:80"]).exposed).toEqual({ "80/tcp": {} });
  });
  for (const [spec, message] of [
    ["99999:1", "invalid hostPort: 99999"],
    ["1:99999", "invalid containerPort: 99999"],
    ["80:", "no port specified: 80:<empty>"],
    ["80/http", "invalid proto: http"],
    ["host:80:80", "invalid IP address: host"],
    ["1-3:1-2", "invalid ranges"],
    ["5-3:1", "invalid hostPort: 5-3"],
    ["published=80", "target is missing"],
    ["target=80,x=1", "invalid field key x"],
  ] as const) {
    test(`${spec} is refused`, () => expect(() => parsePublish([spec])).toThrow(message));
  }
  test("--expose", () => {
    expect(parseExpose(["80", "53/udp", "7000-7001"])).toEqual({ "80/tcp": {}, "53/udp": {}, "7000/tcp": {}, "7001/tcp": {} });
    expect(() => parseExpose(["80:80"])).toThrow("invalid port format for --expose: 80:80");
  });
});

describe("mounts", () => {
  test("-v", () => {
    expect(parseVolumes(["/a:/b", "vol:/c:ro", "/anon"])).toEqual({ binds: ["/a:/b", "vol:/c:ro"], anonymous: { "/anon": {} } });
    expect(parseVolumes(["./x:/y"]).binds).toEqual([`${process.cwd()}/x:/y`]);
    expect(() => parseVolumes(["/a:/b:ro:z"])).toThrow("invalid spec: /a:/b:ro:z: too many colons");
    expect(() => parseVolumes([":/b"])).toThrow("empty section between colons");
  });
  test("--tmpfs", () => expect(parseTmpfs(["/t", "/u:size=1m,mode=700"])).toEqual({ "/t": "", "/u": "size=1m,mode=700" }));
  test("--mount", () => {
    expect(parseMount("type=bind,src=/a,dst=/b,ro,bind-propagation=rslave")).toEqual({
      Type: "bind",
      Source: "/a",
      Target: "/b",
      ReadOnly: true,
      BindOptions: { Propagation: "rslave" },
    });
    expect(parseMount('type=volume,source=v,target=/v,volume-nocopy,volume-label=a=b,volume-driver=local,"volume-opt=o=a,b"')).toEqual({
      Type: "volume",
      Source: "v",
      Target: "/v",
      VolumeOptions: { NoCopy: true, Labels: { a: "b" }, DriverConfig: { Name: "local", Options: { o: "a,b" } } },
    });
    expect(parseMount("type=tmpfs,dst=/t,tmpfs-size=64m,tmpfs-mode=1770")).toEqual({
      Type: "tmpfs",
      Target: "/t",
      TmpfsOptions: { SizeBytes: 64 << 20, Mode: 0o1770 },
    });
    expect(parseMount("type=bind,src=/a,dst=/b,bind-recursive=readonly")).toMatchObject({ ReadOnly: true, BindOptions: { ReadOnlyForceRecursive: true } });
  });
  for (const [spec, message] of [
    ["type=bind,src=/a", "target is required"],
    ["type=bind,src=/a,dst=/b,volume-nocopy=true", "cannot mix 'volume-*' options with mount type 'bind'"],
    ["type=volume,dst=/b,x=1", "unexpected key 'x' in 'x=1'"],
    ["type=volume,dst", "must be a key=value pair"],
    ["type=volume,dst=/b,ro=maybe", "invalid value for ro: maybe"],
    ["type=tmpfs,dst=/b,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"],
  ] as const) {
    test(`--mount ${spec} is refused`, () => expect(() => parseMount(spec)).toThrow(message));
  }
  test("fields of CSV", () => expect(csvFields('a,"b,c","d""e",')).toEqual(["a", "b,c", 'd"e', ""]));
});

describe("environment", () => {
  test("of -e", async () => {
    expect(await readEnvironment([], ["A=1", "B=", "HERE", "NOWHERE"], { HERE: "x" })).toEqual(["A=1", "B=", "HERE=x"]);
    expect(readEnvironment([], [""], {})).rejects.toThrow("invalid environment variable: ");
    expect(readEnvironment([], ["=x"], {})).rejects.toThrow("invalid environment variable: =x");
    expect(readEnvironment(["/nonexistent"], [], {})).rejects.toThrow("open /nonexistent: no such file or directory");
  });
  test("of a file", () => {
    expect(parseLines("\uFEFF# c\n\n  A=1 \r\nB='q'\nHERE\nNOWHERE\n", "f", { HERE: "x" })).toEqual(["A=1 ", "B='q'", "HERE=x"]);
    expect(() => parseLines("A B=1", "f", {})).toThrow("variable 'A B' contains whitespaces");
    expect(() => parseLines("=1", "f", {})).toThrow("no variable name on line '=1'");
  });
  test("pairs", () => expect(keyValues(["a=b=c", "d"])).toEqual({ a: "b=c", d: "" }));
});

describe("limits", () => {
  test("sizes", () => {
    expect(["1", "1k", "1KB", "2 m", "1.5g", ".5k", "1GiB", "3t"].map(parseBytes)).toEqual([1, 1024, 1024, 2 << 20, 1.5 * 2 ** 30, 512, 2 ** 30, 3 * 2 ** 40]);
    expect(["", "k", "1x", "-1", "1kk"].map(parseBytes)).toEqual(Array.from({ length: 5 }, () => undefined));
    expect(parseSignedBytes("-1")).toBe(-1);
  });
  test("restart", () => {
    expect(parseRestart("on-failure:3")).toEqual({ Name: "on-failure", MaximumRetryCount: 3 });
    expect(parseRestart("always")).toEqual({ Name: "always", MaximumRetryCount: 0 });
    for (const bad of ["sometimes", "on-failure:x", "on-failure:1:2"]) expect(() => parseRestart(bad)).toThrow("invalid restart policy");
  });
  test("ulimit", () => {
    expect(parseUlimit("nofile=1024:2048")).toEqual({ Name: "nofile", Soft: 1024, Hard: 2048 });
    expect(parseUlimit("nproc=64")).toEqual({ Name: "nproc", Soft: 64, Hard: 64 });
    expect(parseUlimit("core=-1")).toEqual({ Name: "core", Soft: -1, Hard: -1 });
    expect(() => parseUlimit("nofile")).toThrow("invalid ulimit argument: nofile");
    expect(() => parseUlimit("nofile=2:1")).toThrow("soft limit must be less");
  });
  test("devices", () => {
    expect(parseDevice("/dev/fuse")).toEqual({ PathOnHost: "/dev/fuse", PathInContainer: "/dev/fuse", CgroupPermissions: "rwm" });
    expect(parseDevice("/dev/a:/dev/b:r")).toEqual({ PathOnHost: "/dev/a", PathInContainer: "/dev/b", CgroupPermissions: "r" });
    expect(parseDevice("/dev/a:rw")).toEqual({ PathOnHost: "/dev/a", PathInContainer: "/dev/a", CgroupPermissions: "rw" });
    expect(() => parseDevice("/dev/a:/dev/b:q")).toThrow("q: invalid mode");
    expect(parseThrottle("/dev/sda:1mb", "bytes")).toEqual({ Path: "/dev/sda", Rate: 1 << 20 });
    expect(() => parseThrottle("/dev/sda:1mb", "operations")).toThrow("invalid rate for device");
    expect(parseWeightDevice("/dev/sda:500")).toEqual({ Path: "/dev/sda", Weight: 500 });
    expect(() => parseWeightDevice("/dev/sda:5")).toThrow("invalid weight");
    expect(parseGpus("all")).toMatchObject({ Count: -1, Capabilities: [["gpu"]] });
    expect(parseGpus('"device=0,1",capabilities=utility')).toMatchObject({ DeviceIDs: ["0", "1"], Count: 0, Capabilities: [["gpu", "utility"]] });
  });
});

describe("networks", () => {
  test("--network", () => {
    expect(parseNetwork("web")).toEqual({ name: "web", endpoint: {} });
    expect(parseNetwork("container:web")).toEqual({ name: "container:web", endpoint: {} });
    expect(parseNetwork("name=web,alias=a,alias=b,ip=10.0.0.2,driver-opt=k=v,gw-priority=2")).toEqual({
      name: "web",
      endpoint: { Aliases: ["a", "b"], IPAMConfig: { IPv4Address: "10.0.0.2" }, DriverOpts: { k: "v" }, GwPriority: 2 },
    });
    expect(() => parseNetwork("alias=a")).toThrow("not specified");
  });
  test("--add-host", () => {
    expect(parseExtraHost("a:1.2.3.4")).toBe("a:1.2.3.4");
    expect(parseExtraHost("a=[::1]")).toBe("a:::1");
    expect(parseExtraHost("a:host-gateway")).toBe("a:host-gateway");
    expect(() => parseExtraHost("a")).toThrow("bad format");
    expect(() => parseExtraHost("a:b.c")).toThrow("invalid IP address");
  });
  test("subnets", () => {
    expect(subnetContains("172.28.0.0/16", "172.28.5.254")).toBe(true);
    expect(subnetContains("172.28.0.0/16", "172.29.0.1")).toBe(false);
    expect(subnetContains("2001:db8::/64", "2001:db8::1")).toBe(true);
    expect(subnetContains("2001:db8::/64", "2001:db8:0:1::1")).toBe(false);
    expect(subnetContains("10.0.0.0/8", "::1")).toBe(false);
    expect(() => subnetContains("10.0.0.0", "10.0.0.1")).toThrow("invalid subnet");
    expect(() => subnetContains("10.0.0.0/8", "x")).toThrow("invalid IP address");
  });
});

test("filters", () => {
  expect(parseFilters(["status=running", "status=exited", "Label=a=b"])).toEqual({ status: ["running", "exited"], label: ["a=b"] });
  expect(() => parseFilters(["status"])).toThrow("invalid filter 'status'");
});

test("since and until", () => {
  const now = Date.UTC(2026, 7, 2, 10, 0, 0);
  expect(parseSince("5m", now)).toBe(`${now / 1000 - 300}.000000000`);
  expect(parseSince("1.5s", now)).toBe(`${now / 1000 - 2}.500000000`);
  expect(parseSince("2026-08-02T10:00:00.000000001Z")).toBe(`${now / 1000}.000000001`);
  expect(parseSince("1700000000.123456789")).toBe("1700000000.123456789");
  expect(() => parseSince("yesterday")).toThrow("invalid value");
});
