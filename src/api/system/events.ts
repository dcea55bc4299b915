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

/** Events of the past that are read at once: under a millisecond. */
const pageSize = 256;

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
    // it may fail before anybody waits for it
    done.promise.catch(() => undefined);
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
    const live: EngineEvent[] = [];
    let deliver = (event: EngineEvent): void => void live.push(event);
    using _subscription = services.events.subscribe((event) => deliver(event));
    if (since !== undefined || until !== undefined) {
      const range = { ...(since === undefined ? {} : { since }), ...(until === undefined ? {} : { until }) };
      let page: EngineEvent[];
      let after = 0;
      do {
        page = services.events.history({ ...range, after, limit: pageSize });
        for (const event of page) send(event);
        after = page.at(-1)?.seq ?? after;
        // all of them at once would stop everybody else for some ten milliseconds
        if (page.length === pageSize) await Bun.sleep(0);
      } while (page.length === pageSize && !signal.aborted);
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

const streamTypes = ["application/jsonl", "application/x-ndjson", "application/json-seq"] as const;

/** Lines of JSON, or what the client names in its Accept header: the same lines under another name, or RFC 7464 sequences. */
function encoding({ head }: Exchange, api: ApiVersion): { type: string; encode(event: EngineEvent): string } {
  const line = (event: EngineEvent): string => JSON.stringify(toMessage(event, api)) + "\n";
  // wrong, but what clients of those versions have always been told
  const usual = api < 52 ? "application/json" : api < 53 ? "application/x-ndjson" : "application/jsonl";
  const type = bestOf(head.headers.accept ?? "", streamTypes) ?? usual;
  return { type, encode: type === "application/json-seq" ? (event) => `\x1e${line(event)}` : line };
}

/** The offer that stands in an Accept header by its own name with the highest weight, the first of several; wildcards choose nothing. */
function bestOf<Offer extends string>(accept: string, offers: readonly Offer[]): Offer | undefined {
  const weights = new Map(
    accept.split(",").map((range): [string, number] => {
      const [type = "", ...parameters] = range.split(";").map((part) => part.trim().toLowerCase());
      const weight = parameters.find((parameter) => parameter.startsWith("q="));
      return [type, weight === undefined ? 1 : Number(weight.slice(2)) || 0];
    }),
  );
  let best: Offer | undefined;
  for (const offer of offers) if ((weights.get(offer) ?? 0) > (best === undefined ? 0 : weights.get(best)!)) best = offer;
  return best;
}

function toMessage(event: EngineEvent, api: ApiVersion): Record<string, unknown> {
  const legacy = api < 52 && (event.type === "container" || event.type === "image");
  const { image } = event.attributes;
  return {
    // Go leaves out what is empty: the id of a prune, the image of a container that has none
    ...(legacy ? { status: event.action } : {}),
    ...(legacy && event.actor !== "" ? { id: event.actor } : {}),
    ...(legacy && event.type === "container" && image ? { from: image } : {}),
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
