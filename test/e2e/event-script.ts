/**
 * Commands whose events are compared with Docker's. `docker-events.json` in test/fixtures is what dockerd 26.1.5 emitted for them, written by
 *
 *     bun test/e2e/event-script.ts unix:///run/docker.sock > test/fixtures/docker-events.json
 *
 * on an engine that has an image `busybox` (imported from a tar, without labels) and nothing else.
 */

const sleeper = ["busybox", "sleep", "1000"];

/** Arguments of the docker command, one step a line. A leading number is the exit code that is expected instead of 0. */
export const steps: readonly (readonly (string | number)[])[] = [
  ["create", "--name", "c1", "--label", "a=b", ...sleeper],
  ["start", "c1"],
  ["exec", "c1", "true"],
  [4, "exec", "c1", "sh", "-c", "exit 4"],
  ["exec", "-d", "c1", "sh", "-c", "sleep 0.1; exit 3"],
  ["pause", "c1"],
  ["unpause", "c1"],
  ["rename", "c1", "c2"],
  ["update", "--memory", "100m", "--memory-swap", "200m", "c2"],
  ["top", "c2"],
  ["cp", "/etc/hostname", "c2:/tmp/x"],
  ["cp", "c2:/tmp/x", "-"],
  ["export", "c2"],
  ["commit", "--pause=false", "c2", "com:1"],
  ["kill", "-s", "USR1", "c2"],
  ["restart", "-t", "0", "c2"],
  ["stop", "-t", "0", "c2"],
  ["start", "c2"],
  ["kill", "c2"],
  ["start", "c2"],
  ["rm", "-f", "c2"],
  ["run", "--rm", "--name", "r1", "busybox", "true"],
  [7, "run", "--name", "r2", "busybox", "sh", "-c", "exit 7"],
  [7, "start", "-a", "r2"],
  ["run", "-d", "--name", "r3", "--restart", "on-failure:1", "busybox", "sh", "-c", "exit 5"],
  ["wait", "r3"],
  ["volume", "create", "--label", "v=w", "v1"],
  ["run", "--name", "r4", "-v", "v1:/data:ro", "-v", "/anon", "busybox", "true"],
  ["run", "--rm", "--name", "r5", "--volumes-from", "r4", "busybox", "true"],
  ["run", "--rm", "--name", "r6", "--network", "host", "busybox", "true"],
  ["run", "--rm", "--name", "r7", "--network", "none", "busybox", "true"],
  ["network", "create", "--label", "x=y", "n1"],
  ["run", "-d", "--name", "r8", "--network", "n1", ...sleeper],
  ["network", "connect", "bridge", "r8"],
  ["network", "disconnect", "n1", "r8"],
  ["network", "connect", "n1", "r8"],
  ["stop", "-t", "0", "r8"],
  ["network", "disconnect", "n1", "r8"],
  ["network", "connect", "n1", "r8"],
  ["rm", "-fv", "r8"],
  ["network", "rm", "n1"],
  ["tag", "busybox", "t:1"],
  ["tag", "com:1", "t:1"],
  ["rmi", "t:1"],
  ["save", "com:1"],
  ["rmi", "com:1"],
  ["create", "--name", "bad", "busybox", "/nonexistent"],
  [1, "start", "bad"],
  ["rm", "bad"],
  ["rm", "r2", "r3", "r4"],
  ["container", "prune", "-f"],
  ["volume", "prune", "-af"],
  ["network", "create", "n2"],
  ["network", "prune", "-f"],
  ["image", "prune", "-f"],
  ["builder", "prune", "-f"],
  ["volume", "create", "v2"],
  ["volume", "create", "v2"],
  ["volume", "rm", "v2"],
];

/** As `GET /events` of API 1.45 writes it. */
export interface RawEvent {
  status?: string;
  id?: string;
  from?: string;
  Type: string;
  Action: string;
  Actor: { ID: string; Attributes: Record<string, string> };
  scope: string;
}

/**
 * What happened to each object, in order. Between objects Docker keeps no order that one could rely on: the events of a container's end and of its
 * network's come from different goroutines, and so do `die` and `stop`.
 */
export function byObject(events: readonly RawEvent[]): Record<string, string[]> {
  const objects: Record<string, string[]> = {};
  for (const event of events) {
    const { Type, Action, Actor, scope, ...legacy } = event;
    const attributes = Object.fromEntries(Object.entries(Actor.Attributes).map(([name, value]) => [name, plain(name, value)]));
    // the labels of an image that is gone: Docker can't tell them any more
    const told = Type === "image" && Action === "delete" ? { name: attributes["name"] } : attributes;
    const old = `${legacy.status === undefined ? "" : " status"}${legacy.id === undefined ? "" : " id"}${legacy.from === undefined ? "" : ` from ${legacy.from}`}`;
    const line = `${Action} ${scope} ${JSON.stringify(Object.fromEntries(Object.entries(told).sort(([a], [b]) => (a < b ? -1 : 1))))}${old}`;
    (objects[keyOf(event)] ??= []).push(line);
  }
  for (const key in objects) objects[key] = stopLast(objects[key]!.filter((line, at, all) => line !== all[at - 1]));
  return objects;
}

/** Ids are different each time. The events that Docker writes twice (`disconnect` by hand, `oom`) count once. */
function plain(name: string, value: string): string {
  if (name === "execDuration" || name === "execID") return "…";
  if (name === "reclaimed") return value === "0" ? "0" : "some";
  return value.replaceAll(/(sha256:)?[0-9a-f]{64}/g, "<id>");
}

function keyOf({ Type, Actor }: RawEvent): string {
  const { name = "", container } = Actor.Attributes;
  if (Type === "image") return "images";
  if (Type === "volume") return `volume ${plain("", Actor.ID)}`;
  if (Type === "container") return `container ${name === "c2" ? "c1" : name}`;
  // the containers of a network follow one another
  return container === undefined ? `${Type} ${name}` : `containers of ${name}`;
}

function stopLast(lines: string[]): string[] {
  const result = [...lines];
  for (let at = 0; at + 1 < result.length; at++) {
    if (result[at]!.startsWith("stop ") && result[at + 1]!.startsWith("die ")) [result[at], result[at + 1]] = [result[at + 1]!, result[at]!];
  }
  return result;
}

/** Runs all steps, each of which must end as expected, and gives the events. */
export async function play(
  docker: (args: string[]) => Promise<{ code: number; stderr: string }>,
  history: (since: string, until: string) => Promise<string>,
): Promise<RawEvent[]> {
  const seconds = (): string => (Date.now() / 1000).toFixed(3);
  const since = seconds();
  for (const step of steps) {
    const wanted = typeof step[0] === "number" ? step[0] : 0;
    const args = step.filter((word) => typeof word === "string");
    const { code, stderr } = await docker(args);
    if (code !== wanted) throw new Error(`docker ${args.join(" ")}: exit code ${code}, not ${wanted}\n${stderr}`);
    // restarts, removals and the ends of execs go on after the command
    await Bun.sleep(pause);
  }
  await Bun.sleep(500);
  return (await history(since, seconds()))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as RawEvent);
}

const pause = import.meta.main ? 700 : 120;

if (import.meta.main) {
  const host = process.argv[2] ?? "unix:///var/run/docker.sock";
  const events = await play(
    async (args) => {
      const child = Bun.spawn(["docker", "-H", host, ...args], { stdin: "ignore", stdout: "ignore", stderr: "pipe" });
      return { stderr: await new Response(child.stderr).text(), code: await child.exited };
    },
    async (since, until) => await (await fetch(`http://docker/v1.45/events?since=${since}&until=${until}`, { unix: host.replace("unix://", "") })).text(),
  );
  console.log(JSON.stringify(byObject(events), null, 1));
}
