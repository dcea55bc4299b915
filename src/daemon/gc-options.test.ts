import { expect, test } from "bun:test";
import { builderGc, defaultCacheRules, lowWatermark, parseAge, parseAmount } from "./gc-options.ts";

const hour = 60 * 60 * 1000;

test("watermarks: percentages or bytes, the low one below the high one and of its kind", () => {
  expect(parseAmount("x", "")).toBeUndefined();
  expect(parseAmount("x", "85%")).toEqual({ percent: 85 });
  expect(parseAmount("x", "1.5GB")).toEqual({ bytes: 1.5 * 2 ** 30 });
  for (const bad of ["101%", "0%", "-1", "many"]) expect(() => parseAmount("x", bad)).toThrow("x: want a percentage such as 85%, or bytes");
  expect(lowWatermark({ percent: 80 }, undefined)).toEqual({ percent: 76 });
  expect(lowWatermark({ bytes: 1000 }, undefined)).toEqual({ bytes: 950 });
  expect(lowWatermark({ bytes: 1000 }, { bytes: 10 })).toEqual({ bytes: 10 });
  expect(lowWatermark(undefined, undefined)).toBeUndefined();
  expect(() => lowWatermark({ percent: 80 }, { percent: 81 })).toThrow("must not be above");
  expect(() => lowWatermark({ percent: 80 }, { bytes: 5 })).toThrow("of its kind");
  expect(() => lowWatermark(undefined, { bytes: 5 })).toThrow("needs image-gc-high-watermark");
  expect(parseAge("x", "90m")).toBe(1.5 * hour);
  expect(() => parseAge("x", "a day")).toThrow("x: want a duration such as 24h");
});

test("the builder's collection as dockerd's settings have it", () => {
  expect(builderGc({})).toEqual(defaultCacheRules());
  expect(builderGc({ gc: { enabled: true } })).toEqual(defaultCacheRules());
  expect(builderGc({ gc: { enabled: false, defaultKeepStorage: "20GB" } })).toEqual([]);
  expect(builderGc({ gc: '{"enabled":false}' })).toEqual([]);
  const bounds = { reservedSpace: { bytes: 20 * 2 ** 30 }, maxUsedSpace: { bytes: 0 }, minFreeSpace: { percent: 10 } };
  expect(builderGc({ gc: { defaultKeepStorage: "20GB", defaultMinFreeSpace: "10%" } })).toEqual([
    { all: false, unusedFor: 60 * 24 * hour, filters: {}, ...bounds },
    { all: false, unusedFor: 0, filters: {}, ...bounds },
  ]);
  const none = { bytes: 0 };
  expect(
    builderGc({
      GC: {
        Enabled: true,
        Policy: [
          { keepStorage: "1GB", filter: ["unused-for=48h", "type==regular"] },
          { all: true, maxUsedSpace: "2GB" },
        ],
      },
    }),
  ).toEqual([
    { all: false, unusedFor: 48 * hour, filters: { type: ["regular"] }, reservedSpace: { bytes: 2 ** 30 }, maxUsedSpace: none, minFreeSpace: none },
    { all: true, unusedFor: 0, filters: {}, reservedSpace: none, maxUsedSpace: { bytes: 2 ** 31 }, minFreeSpace: none },
  ]);
  expect(() => builderGc({ gc: { policy: [{ filter: ["colour=red"] }] } })).toThrow("unknown filter");
  expect(() => builderGc({ gc: "{" })).toThrow("builder.gc:");
  expect(() => builderGc({ gc: { enabled: "yes" } })).toThrow("want true or false");
  expect(() => builderGc({ gcc: {} })).toThrow("builder: unknown setting gcc");
});
