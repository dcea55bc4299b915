import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { skipped } from "../skips.ts";
import { inconsistencies, lastingInconsistencies, processesOf } from "./consistency.ts";
import { Engine } from "./harness.ts";
import { Lane, randomOf, stopCode, type Known } from "./lanes.ts";
import { payloadOf } from "./raw-client.ts";

/**
 * The engine is killed at a random moment while four clients create, start, exec into, stop, pause, rename, remove, copy, pull and build; in some rounds
 * a monitor dies with it, or the next engine while it starts. After each round nothing may be lost and nothing left.
 * `BERTH_KILL_ROUNDS=200` asks for more rounds than an ordinary run has, `BERTH_KILL_SEED` for those of an earlier run.
 */
const rounds = Number(process.env["BERTH_KILL_ROUNDS"] ?? 25);
const seed = Number(process.env["BERTH_KILL_SEED"] ?? Math.floor(Math.random() * 1e6));
const lanes = 4;

interface Seen {
  Id: string;
  Name: string;
  State: { Status: string; ExitCode: number; Error: string; Pid: number };
}

describe.skipIf(skipped("root", "overlay", "docker"))(`an engine killed at random moments (seed ${seed})`, () => {
  test(
    "loses nothing and leaves nothing",
    async () => {
      await using engine = await Engine.start();
      await engine.importBusybox();
      await engine.ok("network", "create", "own");
      await using _registry = await engine.registry();
      await pushImage(engine);
      const random = randomOf(seed);
      const clients = Array.from({ length: lanes }, (_, number) => new Lane(engine, number, seed));
      for (let round = 0; round < rounds; round++) {
        const dying = new AbortController();
        const work = clients.map((client) => client.run(dying.signal));
        await Bun.sleep(20 + random() * 700);
        dying.abort();
        if (random() < 0.15) killMonitor(engine, clients, random);
        await engine.kill9();
        await Promise.all(work);
        if (random() < 0.3) await Bun.sleep(random() * 600);
        if (random() < 0.3) {
          const starting = engine.start().catch(() => {});
          await Bun.sleep(random() * 250);
          await engine.kill9();
          await starting;
        }
        await engine.start();
        const wrong = [...clients.flatMap(({ problems }) => problems), ...(await settled(engine, clients))];
        if (wrong.length > 0) throw new Error(`seed ${seed}, round ${round}:\n  ${wrong.join("\n  ")}\n${engine.log().split("\n").slice(-40).join("\n")}`);
        forget(clients);
      }
      await engine.removeAll();
      expect(await lastingInconsistencies(engine)).toEqual([]);
    },
    60_000 + rounds * 15_000,
  );
});

/** An image of two layers in the registry. */
async function pushImage(engine: Engine): Promise<void> {
  const context = join(engine.root, "busybox-tree");
  writeFileSync(join(context, "Dockerfile"), "FROM busybox\nRUN dd if=/dev/urandom of=/one bs=64k count=20\nRUN dd if=/dev/urandom of=/two bs=64k count=20\n");
  await engine.ok("build", "-t", "127.0.0.1:5000/pulled", context);
  await engine.ok("push", "127.0.0.1:5000/pulled");
  await engine.ok("rmi", "-f", "127.0.0.1:5000/pulled");
}

/** What is wrong, once all that goes on by itself (ends, restarts, removals) has had its time. */
async function settled(engine: Engine, clients: readonly Lane[]): Promise<string[]> {
  let wrong: string[] = [];
  for (let i = 0; i < 60; i++) {
    const unmonitored = clients.flatMap(({ containers }) => containers).filter(({ monitorKilled }) => monitorKilled);
    wrong = [...(await seenByClients(engine, clients)), ...(await inconsistencies(engine, new Set(unmonitored.map(({ id }) => id!))))];
    if (wrong.length === 0) break;
    await Bun.sleep(50 + i * 10);
  }
  return wrong;
}

/** What the clients know, against what the engine says. */
async function seenByClients(engine: Engine, clients: readonly Lane[]): Promise<string[]> {
  const wrong: string[] = [];
  const get = async <T>(path: string): Promise<T> => (await (await engine.api("GET", path)).json()) as T;
  const list = await get<{ Id: string; Names: string[] }[]>("/containers/json?all=1");
  const unknown = new Map(list.map(({ Id, Names }) => [Id, Names[0]!.slice(1)]));
  for (const known of clients.flatMap(({ containers }) => containers)) {
    const id = known.id ?? list.find(({ Names }) => Names[0] === `/${known.name}`)?.Id;
    const exists = id !== undefined && unknown.delete(id);
    // an engine removes at its start, as Docker's does, what has --rm and doesn't run, also if it never ran
    const mayBeGone = known.asked.has("remove") || known.autoRemove || !known.answered.has("create");
    const problem = (text: string): void => void wrong.push(`${known.name}: ${text} [${known.history.join(" ")}]`);
    if (!exists) {
      if (!mayBeGone) problem("is lost");
      continue;
    }
    if (known.answered.has("remove")) problem("came back");
    known.id = id;
    // known by a list only: from here on it counts as answered
    known.answered.add("create");
    const seen = await get<Seen>(`/containers/${id}/json`);
    // gone between the list and now, by itself
    if (seen.State === undefined) continue;
    for (const text of wrongState(known, seen)) problem(text);
    if (seen.State.Status === "exited" && seen.State.ExitCode === known.code && !known.monitorKilled && !known.restarts) {
      const logs = await (await engine.api("GET", `/containers/${id}/logs?stdout=1`)).arrayBuffer();
      const output = payloadOf(Buffer.from(logs)).toString();
      if (output !== known.output) problem(`its output is not whole: ${JSON.stringify(output)}`);
    }
  }
  for (const [id, name] of unknown) wrong.push(`nobody asked for container ${name} (${id})`);
  const tags = new Set((await get<{ RepoTags: string[] | null }[]>("/images/json")).flatMap(({ RepoTags }) => RepoTags ?? []));
  for (const [name, expected] of clients.flatMap(({ images }) => [...images])) {
    if (expected !== undefined && tags.has(name) !== expected) wrong.push(`image ${name} ${expected ? "is lost" : "came back"}`);
  }
  return wrong;
}

function wrongState(known: Known, { State }: Seen): string[] {
  const { Status, ExitCode, Error: text, Pid } = State;
  const { asked, last } = known;
  const said = `${Status} ${ExitCode} ${text}`;
  if (known.autoRemove && Status === "exited") return [`should have removed itself: ${said}`];
  switch (Status) {
    case "created":
      return known.answered.has("start") ? [`has forgotten its start: ${said}`] : [];
    case "running":
      if (!asked.has("start")) return [`runs though nobody started it: ${said}`];
      if (last?.answered === true && ["stop", "kill"].includes(last.verb) && !known.restarts) return [`runs though it was stopped: ${said}`];
      return known.pid !== undefined && known.pid !== Pid && !known.restarts ? [`runs anew: pid ${Pid} where ${known.pid} was`] : [];
    case "paused":
      return last?.verb === "pause" || (last?.verb === "unpause" && !last.answered) ? [] : [`is paused though nobody paused it: ${said}`];
    case "restarting":
      return known.restarts ? [] : [`restarts though it has no policy: ${said}`];
    case "exited": {
      if (!asked.has("start")) return [`has ended though nobody started it: ${said}`];
      const ended = ["stop", "kill", "restart", "remove"].some((verb) => asked.has(verb as never));
      const codes = [known.code, ...(ended ? [137, stopCode] : [])];
      if (known.monitorKilled) return ExitCode !== 255 || text !== "" ? [] : [`code 255 without a word why: ${said}`];
      if (!codes.includes(ExitCode) || text !== "") return [`ended with ${said} where ${codes.join(" or ")} is right`];
      return [];
    }
    default:
      return [`is in no state to be in: ${said}`];
  }
}

/** Kills the monitor of one container. */
function killMonitor(engine: Engine, clients: readonly Lane[], random: () => number): void {
  const monitors = [...processesOf(engine).monitors];
  const [id, pid] = monitors[Math.floor(random() * monitors.length)] ?? [];
  const known = clients.flatMap(({ containers }) => containers).find((each) => each.id === id);
  if (known === undefined || pid === undefined) return;
  process.kill(pid, "SIGKILL");
  known.monitorKilled = true;
  known.history.push("monitor killed");
}

/** What is certainly gone needs no further looks. */
function forget(clients: readonly Lane[]): void {
  for (const { containers } of clients) {
    const left = containers.filter((each) => !each.answered.has("remove"));
    containers.splice(0, containers.length, ...left);
  }
}
