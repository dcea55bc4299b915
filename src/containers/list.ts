import { invalidArgument } from "../lib/errors.ts";
import { clientPattern, hasLabel } from "../lib/match.ts";
import { isRunning, lookup, type Context } from "./context.ts";
import { linkNames } from "./linked.ts";
import type { ContainerRecord, ListOptions } from "./types.ts";

/** What lists can be filtered by. */
export const listFilters: ReadonlySet<string> = new Set([
  "ancestor",
  "before",
  "exited",
  "expose",
  "health",
  "id",
  "is-task",
  "isolation",
  "label",
  "name",
  "network",
  "publish",
  "since",
  "status",
  "volume",
]);
const healths = new Set(["none", "starting", "healthy", "unhealthy"]);
const statuses = new Set(["created", "restarting", "running", "removing", "paused", "exited", "dead"]);

type Test = (record: ContainerRecord) => boolean;

/** Newest first. Without `all` those that run, unless a limit or a status is given. @throws EngineError invalidArgument, notFound */
export function list(ctx: Context, options: ListOptions = {}): ContainerRecord[] {
  const filters = options.filters ?? {};
  const tests = Object.entries(filters).map(([name, values]) => testOf(ctx, name, values));
  const limit = options.limit !== undefined && options.limit > 0 ? options.limit : Infinity;
  const all = options.all === true || limit !== Infinity || (filters["status"] ?? []).length > 0;
  const result: ContainerRecord[] = [];
  for (const { record } of newestFirst(ctx)) {
    if (result.length >= limit) break;
    if ((all || isRunning(record.state)) && tests.every((test) => test(record))) result.push(record);
  }
  return result;
}

/** Entries stand in the order of their making. */
function newestFirst(ctx: Context): { record: ContainerRecord }[] {
  return Array.from(ctx.entries.values()).toReversed();
}

/** The name that the API has for a state. `starting` is an inner one: to clients such a container is still what it was before. */
export function statusOf({ state }: ContainerRecord): string {
  if (state.status !== "starting") return state.status;
  if (state.restarting === true) return "restarting";
  return state.startedAt === "0" ? "created" : "exited";
}

function testOf(ctx: Context, name: string, values: string[]): Test {
  if (!listFilters.has(name)) throw invalidArgument(`invalid filter '${name}'`);
  switch (name) {
    case "id":
      // an empty one is none: scripts give ids from variables
      return (record) => values.some((value) => value !== "" && record.id.startsWith(value));
    case "name":
      return nameTest(ctx, values);
    case "label":
      return (record) => values.every((value) => hasLabel(record.config.Labels ?? {}, value));
    case "status": {
      const bad = values.find((value) => !statuses.has(value));
      if (bad !== undefined) throw invalidArgument(`invalid filter 'status=${bad}': unrecognised filter value for status: ${bad}`);
      return (record) => values.includes(statusOf(record));
    }
    case "exited": {
      const bad = values.find((value) => !/^[+-]?\d{1,10}$/.test(value));
      if (bad !== undefined) throw invalidArgument(`invalid filter 'exited=${bad}': want an exit code`);
      const codes = values.map(Number);
      return ({ state }) => state.status === "exited" && state.startedAt !== "0" && codes.includes(state.exitCode);
    }
    case "before":
    case "since":
      return orderTest(ctx, name, values);
    case "ancestor":
      return ancestorTest(ctx, values);
    case "network":
      return networkTest(ctx, values);
    case "volume":
      return (record) => record.mounts.some((mount) => values.some((value) => mount.Name === value || mount.Source === value || mount.Destination === value));
    case "publish":
    case "expose":
      return portTest(ctx, name, values);
    case "health": {
      const bad = values.find((value) => !healths.has(value));
      if (bad !== undefined) throw invalidArgument(`unrecognized filter value for health: ${bad}`);
      return (record) => values.includes(record.health?.Status ?? "none");
    }
    case "is-task": {
      const bad = values.find((value) => !["true", "1", "false", "0"].includes(value));
      if (bad !== undefined) throw invalidArgument(`invalid filter 'is-task=[${values.join(" ")}]'`);
      return () => !values.some((value) => value === "true" || value === "1");
    }
    default:
      return () => true;
  }
}

/** Docker takes names as regular expressions, with or without the slash. */
function nameTest(ctx: Context, values: string[]): Test {
  const patterns = values.map((value) => {
    const pattern = clientPattern(value);
    if (pattern === undefined) throw invalidArgument(`invalid filter 'name=${value.slice(0, 256)}': not a regular expression, or too complex a one`);
    return pattern;
  });
  const links = linkNames(ctx);
  const hasName = (name: string): boolean => patterns.some((matches) => matches(name) || matches(name.slice(1)));
  return ({ id, name }) => hasName(`/${name}`) || (links.get(id) ?? []).some(hasName);
}

function orderTest(ctx: Context, name: "before" | "since", values: string[]): Test {
  const order = new Map(newestFirst(ctx).map(({ record }, index) => [record.id, index]));
  const marks = values.map((value) => order.get(lookup(ctx, value).record.id) ?? 0);
  return (record) => {
    const place = order.get(record.id) ?? 0;
    return marks.every((mark) => (name === "before" ? place > mark : place < mark));
  };
}

/** Containers of the image, or of images that stand on it. */
function ancestorTest(ctx: Context, values: string[]): Test {
  const wanted = values.flatMap((value) => {
    try {
      return ctx.images.named(value);
    } catch {
      return [];
    }
  });
  const sits = (record: ContainerRecord): boolean =>
    wanted.some(
      (image) =>
        record.imageId === image.id ||
        (image.layers.length > 0 && image.layers.length <= record.layers.length && image.layers.every((layer, i) => layer === record.layers[i])),
    );
  return (record) => sits(record) || values.includes(record.config.Image ?? "");
}

function networkTest(ctx: Context, values: string[]): Test {
  const names = new Set(values);
  for (const network of ctx.networks.list()) if (values.some((value) => network.name === value || network.id.startsWith(value))) names.add(network.name);
  return (record) => Object.keys(record.endpoints).some((name) => names.has(name)) || names.has(record.host.NetworkMode ?? "");
}

/** `80`, `80/udp`, `8000-8010/tcp`. */
function portTest(ctx: Context, name: "publish" | "expose", values: string[]): Test {
  const wanted = new Set<string>();
  for (const value of values) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/.exec(value);
    if (match === null) throw invalidArgument(`invalid filter '${name}=${value}': invalid port`);
    const [, first, last = first, proto = "tcp"] = match;
    if (Number(last) > 65535 || Number(last) < Number(first)) throw invalidArgument(`invalid filter '${name}=${value}': invalid port range`);
    for (let port = Number(first); port <= Number(last); port++) wanted.add(`${port}/${proto}`);
  }
  if (name === "expose") return (record) => Object.keys(record.config.ExposedPorts ?? {}).some((port) => wanted.has(port));
  return (record) => ctx.networks.endpointsOfContainer(record.id).some(({ ports }) => ports.some(({ hostPort, proto }) => wanted.has(`${hostPort}/${proto}`)));
}
