import { describe, expect, test } from "bun:test";
import { skipped } from "../skips.ts";
import { checksOf, guestLimit, Machine, resultsOf } from "./machine.ts";

/**
 * What the host can't show: the engine on pure cgroup v2 and an older kernel, in an emulated machine (some 10 to 20 times slower: behaviour only). The
 * checks are in scenario.ts and reboot.ts, which run inside.
 */
function expectResults(said: string, wanted: string[]): void {
  const found = resultsOf(said);
  if (found.join("\n") !== wanted.join("\n")) console.error(said.slice(-8000));
  expect(found).toEqual(wanted);
}

describe.skipIf(skipped("root", "guest"))("a machine with pure cgroup v2", () => {
  test(
    "does everything there",
    async () => {
      using machine = new Machine();
      expectResults(await machine.boot("scenario"), [...checksOf("scenario").map((check) => `GUEST ok ${check}`), "GUEST end 0"]);
    },
    guestLimit + 60_000,
  );

  test(
    "loses nothing when its power is cut",
    async () => {
      using machine = new Machine({ diskBytes: 1 << 30 });
      const checks = checksOf("reboot").map((check) => `GUEST ok ${check}`);
      const first = await machine.boot("reboot");
      expectResults(first, checks.slice(0, 1));
      expectResults(await machine.boot("reboot"), [...checks.slice(1), "GUEST end 0"]);
    },
    2 * guestLimit + 60_000,
  );
});
