import { describe, expect, test } from "bun:test";
import { everyLimit as all } from "../../test/every-limit.ts";
import type { HostConfig } from "../oci/container.ts";
import { buildResources } from "./resources.ts";
import { keptLimits, supportedLimits, type LimitSupport } from "./support.ts";

const none = Object.fromEntries(Object.keys(all).map((name) => [name, false])) as unknown as LimitSupport;

describe("limits that the host can't keep", () => {
  test("are dropped with Docker's warnings", () => {
    const device = [{ Path: "/dev/vda", Rate: 1 }];
    const asked: HostConfig = {
      Memory: 100,
      MemorySwap: 150,
      MemorySwappiness: 5,
      MemoryReservation: 50,
      OomKillDisable: true,
      PidsLimit: 5,
      CpuShares: 5,
      CpuPeriod: 5000,
      CpusetCpus: "0",
      BlkioWeight: 300,
      BlkioWeightDevice: [{ Path: "/dev/vda", Weight: 100 }],
      BlkioDeviceReadBps: device,
      BlkioDeviceWriteBps: device,
      BlkioDeviceReadIOps: device,
      BlkioDeviceWriteIOps: device,
    };
    const { host, warnings } = supportedLimits(asked, none);
    expect(warnings.map((each) => each.split(". ")[1])).toEqual([
      "Limitation discarded.",
      "Memory limited without swap.",
      "Memory swappiness discarded.",
      "Limitation discarded.",
      "OomKillDisable discarded.",
      "PIDs limit discarded.",
      "Shares discarded.",
      "CPU period/quota discarded.",
      "Cpuset discarded.",
      "Weight discarded.",
      "Weight-device discarded.",
      "Block I/O BPS read limit discarded.",
      "Block I/O BPS write limit discarded.",
      "Block I/O IOPS read limit discarded.",
      "Block I/O IOPS write limit discarded.",
    ]);
    expect(warnings[11]).toBe("Your kernel does not support BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit discarded.");
    expect(buildResources(host, [])).toEqual({ devices: [] });
  });

  test("without a swap limit not even the default one is set", () => {
    const { host, warnings } = supportedLimits({ Memory: 100 }, { ...all, swap: false });
    expect(warnings).toEqual([]);
    expect(buildResources(host, []).memory).toEqual({ limit: 100 });
    expect(keptLimits({ Memory: 100, MemorySwap: 200 }, { ...all, swap: false }).host).toEqual({ Memory: 100, MemorySwap: -1 });
    expect(keptLimits({ CpuShares: 5 }, { ...all, swap: false }).host).toEqual({ CpuShares: 5, MemorySwap: undefined });
  });

  test("nothing asked, nothing said; all supported, all kept", () => {
    expect(supportedLimits({ CpuCount: 1 }, none).warnings).toEqual([]);
    const asked = { MemorySwap: 150, OomKillDisable: true };
    expect(supportedLimits(asked, all)).toEqual({ host: asked, warnings: [] });
  });

  test("some are refused, as Docker does", () => {
    expect(() => supportedLimits({ NanoCpus: 1e9 }, none)).toThrow("NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler");
    expect(() => supportedLimits({ CpuRealtimeRuntime: 1000 }, none)).toThrow("kernel does not support CPU real-time scheduler");
    expect(keptLimits({ CpuPercent: 50 }, all)).toEqual({ host: { CpuPercent: 0 }, warnings: ["linux does not support CPU percent. Percent discarded."] });
  });
});
