import { beforeAll, describe, expect, test } from "bun:test";
import docker from "../fixtures/docker-events.json" with { type: "json" };
import { skipped } from "../skips.ts";
import { byObject, play, type RawEvent } from "./event-script.ts";
import { suiteEngine, until } from "./harness.ts";

describe.skipIf(skipped("root", "overlay", "docker"))("events", () => {
  const engine = suiteEngine();
  let since: string;

  beforeAll(async () => {
    since = String(Date.now() / 1000);
  });

  const events = async (query: string, headers: Record<string, string> = {}, version = "v1.45"): Promise<{ type: string | null; text: string }> => {
    const response = await fetch(`http://engine/${version}/events?${query}`, { unix: engine.socket, headers } as RequestInit);
    return { type: response.headers.get("content-type"), text: await response.text() };
  };
  const parse = (text: string): RawEvent[] =>
    text
      .trim()
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as RawEvent);
  const now = (): string => (Date.now() / 1000).toFixed(3);
  const filtered = async (filters: Record<string, string[]>): Promise<RawEvent[]> =>
    parse((await events(`since=${since}&until=${now()}&filters=${encodeURIComponent(JSON.stringify(filters))}`)).text);

  test("are those that dockerd emits for the same commands, with the same attributes and in the same order", async () => {
    const seen = await play(
      async (args) => await engine.docker(args),
      async (from, to) => (await events(`since=${from}&until=${to}`)).text,
    );
    expect(byObject(seen)).toEqual(docker);
  });

  test("are filtered by kind, name, label, image and action", async () => {
    const actions = (list: RawEvent[]): string[] => [...new Set(list.map(({ Type, Action }) => `${Type} ${Action.split(":")[0]}`))].sort();
    expect(actions(await filtered({ type: ["volume"] }))).toEqual(["volume create", "volume destroy", "volume mount", "volume prune", "volume unmount"]);
    expect(actions(await filtered({ volume: ["v2"] }))).toEqual(["volume create", "volume destroy"]);
    expect(actions(await filtered({ network: ["n1"] }))).toEqual(["network connect", "network create", "network destroy", "network disconnect"]);
    expect(actions(await filtered({ container: ["r2"], event: ["die", "start"] }))).toEqual(["container die", "container start"]);
    expect((await filtered({ label: ["a=b"], type: ["container"] })).every(({ Actor }) => Actor.Attributes["a"] === "b")).toBe(true);
    expect(await filtered({ label: ["a=c"] })).toEqual([]);
    expect((await filtered({ event: ["exec_create"] })).length).toBe(3);
    expect((await filtered({ image: ["busybox"], event: ["create"] })).length).toBeGreaterThan(8);
    expect(await filtered({ scope: ["swarm"] })).toEqual([]);
    expect((await filtered({ scope: ["local"], type: ["builder"] })).length).toBe(1);
    expect(JSON.parse((await events("filters=" + encodeURIComponent('{"nope":["x"]}'))).text)).toEqual({ message: "invalid filter 'nope'" });
  });

  test("come as lines or as sequences, as the client asks", async () => {
    const range = `since=${since}&until=${now()}&filters=${encodeURIComponent('{"volume":["v2"]}')}`;
    expect((await events(range)).type).toBe("application/json");
    const modern = await events(range, {}, "v1.55");
    expect(modern.type).toBe("application/jsonl");
    expect(modern.text).not.toContain('"status"');
    expect((await events(range, {}, "v1.52")).type).toBe("application/x-ndjson");
    expect((await events(range, { accept: "application/x-ndjson" }, "v1.55")).type).toBe("application/x-ndjson");
    const sequence = await events(range, { accept: "application/x-ndjson;q=0.5, application/json-seq" }, "v1.55");
    expect(sequence.type).toBe("application/json-seq");
    for (const record of sequence.text.trim().split("\n")) expect(record).toMatch(/^\x1e\{.*\}$/);
    expect((await events(range, { accept: "application/*" }, "v1.55")).type).toBe("application/jsonl");
  });

  test("since and until take fractions, dates and spans, and until in the future ends the stream then", async () => {
    const all = await filtered({ type: ["volume"] });
    const at = (await events(`since=${since}&until=${now()}&filters=${encodeURIComponent('{"volume":["v2"],"event":["destroy"]}')}`)).text;
    const { timeNano } = JSON.parse(at.replace(/"timeNano":(\d+)/, '"timeNano":"$1"')) as { timeNano: string };
    const exact = `${timeNano.slice(0, -9)}.${timeNano.slice(-9)}`;
    expect(parse((await events(`since=${exact}&until=${exact}`)).text).map(({ Action }) => Action)).toEqual(["destroy"]);
    expect(parse((await events(`since=1h&until=0s&filters=${encodeURIComponent('{"type":["volume"]}')}`)).text)).toEqual(all);
    expect(parse((await events(`since=2000-01-01T00:00:00&until=0s&filters=${encodeURIComponent('{"type":["volume"]}')}`)).text)).toEqual(all);
    const soon = events(`since=${now()}&until=${(Date.now() / 1000 + 2).toFixed(3)}`);
    await engine.ok("volume", "create", "live");
    await engine.ok("volume", "rm", "live");
    expect(parse((await soon).text).map(({ Action }) => Action)).toEqual(["create", "destroy"]);
    expect((await events("since=5&until=4")).text).toContain("cannot be after");
    expect(await engine.ok("events", "--since", exact, "--until", exact, "--format", "{{.Type}} {{.Action}} {{.Actor.ID}}")).toBe("volume destroy v2");
  });

  test("outlive the engine", async () => {
    const before = await filtered({ type: ["network", "volume", "image"] });
    await engine.kill9();
    await engine.start();
    expect((await filtered({ type: ["network", "volume", "image"] })).slice(0, before.length)).toEqual(before);
    await until("a client that waits sees the next one", async () => {
      const next = events(`until=${(Date.now() / 1000 + 1).toFixed(3)}`);
      await Bun.sleep(100);
      await engine.ok("volume", "create", "after");
      return parse((await next).text).some(({ Actor }) => Actor.ID === "after");
    });
    await engine.ok("volume", "rm", "after");
  });
});
