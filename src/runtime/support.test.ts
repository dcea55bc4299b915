import { describe, expect, test } from "bun:test";
import { buildResources } from "./resources.ts";
import { supportedLimits } from "./support.ts";

const none = { swap: false, swappiness: false, oomKillDisable: false, blkioWeight: false };

describe("limits that the host can't keep", () => {
  test("are dropped with Docker's warnings", () => {
    const asked = { Memory: 100, MemorySwap: 150, MemorySwappiness: 5, OomKillDisable: true, BlkioWeight: 300 };
    const { host, warnings } = supportedLimits(asked, none);
    expect(warnings.map((each) => each.split(". ")[1])).toEqual([
      "Memory limited without swap.",
      "Memory swappiness discarded.",
      "OomKillDisable discarded.",
      "Weight discarded.",
    ]);
    // no swap limit is set then, not even the default one
    expect(buildResources(host, []).memory).toEqual({ limit: 100 });
    expect(buildResources(host, []).blockIO).toBeUndefined();
  });

  test("nothing asked, nothing said; all supported, all kept", () => {
    expect(supportedLimits({ Memory: 1 }, none).warnings).toEqual([]);
    const asked = { MemorySwap: 150, OomKillDisable: true };
    expect(supportedLimits(asked, { swap: true, swappiness: true, oomKillDisable: true, blkioWeight: true })).toEqual({ host: asked, warnings: [] });
  });
});
