import { describe, expect, test } from "bun:test";
import type { NetworkReport } from "../../src/client/types.ts";
import { skipped } from "../skips.ts";
import { inconsistencies, lastingInconsistencies } from "./consistency.ts";
import { Engine } from "./harness.ts";
import { randomOf } from "./lanes.ts";

/**
 * The engine is killed at a random moment while clients create and remove networks, run containers with published ports, connect and disconnect them. After
 * each round records, kernel and files agree, and `berth network check` finds nothing. BERTH_KILL_ROUNDS and BERTH_KILL_SEED as in kill9.test.ts.
 */
const rounds = Number(process.env["BERTH_KILL_ROUNDS"] ?? 12);
const seed = Number(process.env["BERTH_KILL_SEED"] ?? Math.floor(Math.random() * 1e6));
const lanes = 4;

describe.skipIf(skipped("root", "overlay", "docker"))(`networks of an engine killed at random moments (seed ${seed})`, () => {
  test(
    "are whole afterwards",
    async () => {
      await using engine = await Engine.start();
      await engine.importBusybox();
      const random = randomOf(seed);
      for (let round = 0; round < rounds; round++) {
        const dying = new AbortController();
        const problems: string[] = [];
        const work = Array.from({ length: lanes }, (_, lane) => client(engine, lane, randomOf(seed * 1000 + round * lanes + lane), dying.signal, problems));
        await Bun.sleep(20 + random() * 500);
        dying.abort();
        await engine.kill9();
        await Promise.all(work);
        if (random() < 0.3) {
          const starting = engine.start().catch(() => {});
          await Bun.sleep(random() * 250);
          await engine.kill9();
          await starting;
        }
        await engine.start();
        const wrong = [...problems, ...(await settled(engine))];
        if (wrong.length > 0) throw new Error(`seed ${seed}, round ${round}:\n  ${wrong.join("\n  ")}\n${engine.log().split("\n").slice(-40).join("\n")}`);
      }
      await engine.removeAll();
      await engine.ok("network", "prune", "-f");
      expect(await lastingInconsistencies(engine)).toEqual([]);
    },
    60_000 + rounds * 15_000,
  );
});

/** What is wrong once all that goes on by itself has had its time. */
async function settled(engine: Engine): Promise<string[]> {
  let wrong: string[] = [];
  for (let i = 0; i < 40; i++) {
    wrong = await inconsistencies(engine);
    if (wrong.length === 0) break;
    await Bun.sleep(50 + i * 10);
  }
  if (wrong.length > 0) return wrong;
  const report = (await (await engine.api("POST", "/berth/networks/check")).json()) as NetworkReport;
  return report.problems.filter(({ kind }) => kind !== "dns").map(({ problem }) => problem);
}

/** One thing after another with networks and containers of its own, until `signal`. A refusal is fine, a 500 isn't. */
async function client(engine: Engine, lane: number, random: () => number, signal: AbortSignal, problems: string[]): Promise<void> {
  const network = (): string => `lane${lane}-${Math.floor(random() * 2)}`;
  const container = (): string => `c${lane}-${Math.floor(random() * 2)}`;
  const ask = async (method: string, path: string, body?: object): Promise<void> => {
    try {
      const response = await engine.api(method, path, body);
      const text = await response.text();
      if (response.status >= 500 && !signal.aborted) problems.push(`${method} ${path}: ${response.status} ${text}`);
    } catch {
      // killed meanwhile
    }
  };
  while (!signal.aborted) {
    const roll = random();
    if (roll < 0.15) await ask("POST", "/networks/create", { Name: network(), EnableIPv6: random() < 0.3, Internal: random() < 0.2 });
    else if (roll < 0.25) await ask("DELETE", `/networks/${network()}`);
    else if (roll < 0.5) {
      const name = container();
      const ports = { "80/tcp": [{ HostPort: "" }], "81/udp": [{ HostIp: "127.0.0.1", HostPort: "" }] };
      const mode = random() < 0.5 ? "bridge" : network();
      await ask("POST", `/containers/create?name=${name}`, {
        Image: "busybox",
        Cmd: ["sleep", "1000"],
        HostConfig: { NetworkMode: mode, PortBindings: ports },
      });
      await ask("POST", `/containers/${name}/start`);
    } else if (roll < 0.7) await ask("POST", `/networks/${network()}/connect`, { Container: container() });
    else if (roll < 0.85) await ask("POST", `/networks/${random() < 0.3 ? "bridge" : network()}/disconnect`, { Container: container(), Force: random() < 0.3 });
    else if (roll < 0.93) await ask("DELETE", `/containers/${container()}?force=1`);
    else await ask("POST", `/containers/${container()}/restart?t=0`);
  }
}
