import { describe, expect, test } from "bun:test";
import { buildDevices, buildResources, majorOf, minorOf } from "./resources.ts";

describe("limits", () => {
  test("none given, none set", () => {
    expect(buildResources({}, [])).toEqual({ devices: [] });
  });

  test("memory: swap is twice the memory unless given, -1 is unlimited", () => {
    expect(buildResources({ Memory: 100 }, []).memory).toEqual({ limit: 100, swap: 200 });
    expect(buildResources({ Memory: 100, MemorySwap: 100 }, []).memory).toEqual({ limit: 100, swap: 100 });
    expect(buildResources({ Memory: 100, MemorySwap: -1, MemoryReservation: 50, MemorySwappiness: 0, OomKillDisable: true }, []).memory).toEqual({
      limit: 100,
      reservation: 50,
      swap: -1,
      swappiness: 0,
      disableOOMKiller: true,
    });
    expect(buildResources({ MemorySwap: -5, MemoryReservation: -5 }, []).memory).toEqual({ swap: -1 });
    expect(buildResources({ MemorySwappiness: -1, OomKillDisable: false }, []).memory).toBeUndefined();
  });

  test("cpu: --cpus is a quota of 100 ms", () => {
    expect(buildResources({ NanoCpus: 1_500_000_000 }, []).cpu).toEqual({ period: 100_000, quota: 150_000 });
    expect(buildResources({ CpuQuota: 5, CpuPeriod: 6, CpuShares: 7, CpusetCpus: "0", CpusetMems: "0" }, []).cpu).toEqual({
      quota: 5,
      period: 6,
      shares: 7,
      cpus: "0",
      mems: "0",
    });
  });

  test("pids: 0 is none, negative is unlimited", () => {
    expect(buildResources({ PidsLimit: 0 }, []).pids).toBeUndefined();
    expect(buildResources({ PidsLimit: -5 }, []).pids).toEqual({ limit: -1 });
    expect(buildResources({ PidsLimit: 9 }, []).pids).toEqual({ limit: 9 });
  });

  test("block devices by number, missing ones are refused by name", () => {
    expect(buildResources({ BlkioDeviceReadBps: [{ Path: "/dev/null", Rate: 10 }] }, []).blockIO).toEqual({
      throttleReadBpsDevice: [{ major: 1, minor: 3, rate: 10 }],
    });
    expect(() => buildResources({ BlkioDeviceReadBps: [{ Path: "/dev/no-such", Rate: 10 }] }, [])).toThrow("no such device: /dev/no-such");
  });
});

describe("devices", () => {
  test("the default rules deny all, then allow what every container has", () => {
    const { devices, rules } = buildDevices({});
    expect(devices).toEqual([]);
    expect(rules[0]).toEqual({ allow: false, access: "rwm" });
    expect(rules).toContainEqual({ allow: true, type: "c", major: 1, minor: 3, access: "rwm" });
  });

  test("--device and --device-cgroup-rule", () => {
    const { devices, rules } = buildDevices({
      Devices: [{ PathOnHost: "/dev/null", PathInContainer: "/dev/nil", CgroupPermissions: "r" }],
      DeviceCgroupRules: ["c 10:* rw"],
    });
    expect(devices[0]).toMatchObject({ type: "c", path: "/dev/nil", major: 1, minor: 3 });
    expect(rules.slice(-2)).toEqual([
      { allow: true, type: "c", major: 1, minor: 3, access: "r" },
      { allow: true, type: "c", major: 10, access: "rw" },
    ]);
  });

  test("what can't be honoured is refused by name", () => {
    expect(() => buildDevices({ Devices: [{ PathOnHost: "/dev/no-such" }] })).toThrow(
      'error gathering device information while adding custom device "/dev/no-such"',
    );
    expect(() => buildDevices({ Devices: [{ PathOnHost: "/etc/passwd" }] })).toThrow("not a device node");
    expect(() => buildDevices({ DeviceCgroupRules: ["x 1:2 r"] })).toThrow("invalid device cgroup rule format: 'x 1:2 r'");
  });

  test("privileged: everything is allowed", () => {
    expect(buildDevices({ Privileged: true }).rules).toEqual([{ allow: true, access: "rwm" }]);
  });

  test("device numbers beyond 8 bits", () => {
    // mkdev(259, 300)
    expect([majorOf(0x11032c), minorOf(0x11032c)]).toEqual([0x103, 0x12c]);
  });
});
