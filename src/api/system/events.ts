import { realtimeNano } from "../../kernel/clock.ts";
import type { EngineEvent } from "../../events/types.ts";
import { cancelled, invalidArgument } from "../../lib/errors.ts";
import { hasLabel } from "../../lib/match.ts";
import { parseTimestamp } from "../../lib/time.ts";
import { endpoint } from "../endpoint.ts";
import type { Exchange } from "../http/connection.ts";
import { jsonNumber } from "../json.ts";
import type { Query } from "../query.ts";
import type { ApiVersion } from "../versions.ts";

const objectTypes = ["config", "container", "daemon", "image", "network", "node", "plugin", "secret", "service", "volume"];
const filterNames = ["event", "label", "scope", "type", ...objectTypes];

/** Events a client may leave unread before it is cut off. */
const maxBacklog = 16 << 20;

/** Recorded events of the past, then those that happen, without a gap or a repetition between the two. */
export const events = endpoint({
  method: "GET",
  path: "/events",
  handler: async ({ services, query, api, exchange, signal }) => {
    const since = timeOf(query, "since");
    const until = timeOf(query, "until");
    if (since !== undefined && until !== undefined && until < since) {
      throw invalidArgument(`\`since\` time (${query.text("since")}) cannot be after \`until\` time (${query.text("until")})`);
    }
    const filters = query.filters(filterNames);
    const { type, encode } = encoding(exchange, api);
    const stream = exchange.stream(200, { "Content-Type": type });
    const done = Promise.withResolvers<void>();
    let backlog = 0;
    let last = -1;
    const send = (event: EngineEvent): void => {
      if (signal.aborted || backlog > maxBacklog || event.seq <= last || !matches(event, filters)) return;
      // image create events were added in 1.46
      if (api < 46 && event.type === "image" && event.action === "create") return;
      last = event.seq;
      const line = encode(event);
      let waiting: Promise<void> | undefined;
      try {
        waiting = stream.write(line);
      } catch (error) {
        // it has gone, and its signal comes in a moment
        return done.reject(error);
      }
      if (waiting === undefined) return;
      backlog += line.length;
      if (backlog > maxBacklog) done.reject(cancelled("the client reads its events too slowly"));
      void waiting.then(() => (backlog = 0));
    };
    // may be long before anybody waits for it
    done.promise.catch(() => {});
    const live: EngineEvent[] = [];
    let deliver = (event: EngineEvent): void => void live.push(event);
    using _subscription = services.events.subscribe((event) => deliver(event));
    if (since !== undefined || until !== undefined) {
      const range = { ...(since === undefined ? {} : { since }), ...(until === undefined ? {} : { until }) };
      for (const event of services.events.history(range)) send(event);
    }
    deliver = send;
    for (const event of live) send(event);
    if (until === undefined || until > realtimeNano()) await waitForEnd(until, signal, done);
    if (!signal.aborted) stream.end();
  },
});

async function waitForEnd(until: bigint | undefined, signal: AbortSignal, done: PromiseWithResolvers<void>): Promise<void> {
  // setTimeout takes 2^31 ms at most; nobody waits that long
  const left = until === undefined ? undefined : Math.min(Number((until - realtimeNano()) / 1_000_000n) + 1, 2 ** 31 - 1);
  const timer = left === undefined ? undefined : setTimeout(() => done.resolve(), left);
  signal.addEventListener("abort", () => done.resolve(), { once: true });
  if (signal.aborted) done.resolve();
  try {
    await done.promise;
  } finally {
    clearTimeout(timer);
  }
}

function timeOf(query: Query, name: string): bigint | undefined {
  const text = query.text(name);
  return text === "" ? undefined : parseTimestamp(text, realtimeNano());
}

/** Lines of JSON; since 1.52 a client may ask for RFC 7464 sequences by its Accept header. */
function encoding({ head }: Exchange, api: ApiVersion): { type: string; encode(event: EngineEvent): string } {
  const accept = api >= 52 ? (head.headers.accept ?? "") : "";
  const line = (event: EngineEvent): string => JSON.stringify(toMessage(event, api)) + "\n";
  if (accept.includes("application/json-seq")) return { type: "application/json-seq", encode: (event) => `\x1e${line(event)}` };
  if (accept.includes("application/x-ndjson")) return { type: "application/x-ndjson", encode: line };
  if (api >= 53 && accept.includes("application/jsonl")) return { type: "application/jsonl", encode: line };
  return { type: "application/json", encode: line };
}

function toMessage(event: EngineEvent, api: ApiVersion): Record<string, unknown> {
  const legacy = api < 52 && (event.type === "container" || event.type === "image");
  return {
    ...(legacy ? { status: event.action, id: event.actor } : {}),
    ...(legacy && event.type === "container" ? { from: event.attributes.image ?? "" } : {}),
    Type: event.type,
    Action: event.action,
    Actor: { ID: event.actor, Attributes: event.attributes },
    scope: "local",
    time: Number(event.timeNano / 1_000_000_000n),
    timeNano: jsonNumber(event.timeNano),
  };
}

/** All filters must fit, of each filter one value. */
function matches(event: EngineEvent, filters: Record<string, string[]>): boolean {
  return Object.entries(filters).every(([name, values]) => {
    switch (name) {
      case "event":
        // `exec_create: sh -c …` and `health_status: healthy` are asked for by their first word too
        return values.some((value) => event.action === value || event.action.startsWith(`${value}: `));
      case "type":
        return values.includes(event.type);
      case "scope":
        return values.includes("local");
      case "label":
        return values.every((value) => hasLabel(event.attributes, value));
      case "image":
        return values.some((value) => isImage(event, value));
      default:
        return event.type === name && values.some((value) => event.actor.startsWith(value) || event.attributes.name?.startsWith(value) === true);
    }
  });
}

/** An image's own events by id or name, and those of containers made from it. With or without tag. */
function isImage({ type, actor, attributes }: EngineEvent, filter: string): boolean {
  const names = type === "image" ? [actor, attributes.name] : [attributes.image];
  return names.some((name) => name !== undefined && (name === filter || name.replace(/:[^:/]*$/, "") === filter));
}
