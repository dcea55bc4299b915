import { messageOf, invalidArgument } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { createPause, createTurns, type Turns } from "../lib/turns.ts";
import type { Call, Endpoint, Reply } from "./endpoint.ts";
import { errorAnswer } from "./errors.ts";
import type { Exchange } from "./http/connection.ts";
import { createHttpServer, type HttpServer } from "./http/listen.ts";
import type { ApiMeasure } from "./measure.ts";
import { Query } from "./query.ts";
import { createRouter, type Match, type Router } from "./router.ts";
import { check } from "./schema.ts";
import type { Services } from "./services.ts";
import { maxApiText, parseMinimum } from "./versions.ts";

/** Largest JSON body. dockerd has no limit; a create request with a long environment is some 100 KB. Parsed, hostile ones take 20 times their size. */
const maxJsonBody = 4 << 20;
/** Go's limit. */
const maxJsonDepth = 10_000;

export interface ApiServerOptions {
  services: Services;
  endpoints: readonly Endpoint[];
  /** The oldest version that is served: `1.N`. */
  minApiVersion: string;
  /** Berth's own, for the Server header. */
  version: string;
  measure: ApiMeasure;
  log: Logger;
}

/** The Engine API on any number of listeners. */
export function createApiServer(options: ApiServerOptions): HttpServer {
  const router = createRouter(options.endpoints, parseMinimum(options.minApiVersion));
  const turns = createTurns();
  return createHttpServer({
    log: options.log,
    commonHeaders: `Api-Version: ${maxApiText}\r\nDocker-Experimental: false\r\nOstype: linux\r\nServer: Berth/${options.version} (linux)\r\n`,
    handler: (exchange) => serve(exchange, router, turns, options),
  });
}

async function serve(exchange: Exchange, router: Router, turns: Turns, options: ApiServerOptions): Promise<void> {
  const { method, target } = exchange.head;
  const mark = target.indexOf("?");
  const path = mark < 0 ? target : target.slice(0, mark);
  let found: Match | undefined;
  let notFound: unknown;
  try {
    found = router(method, path);
  } catch (error) {
    notFound = error;
  }
  const measured = options.measure.begin(found?.endpoint);
  exchange.onAnswer = measured.answered;
  try {
    if (found === undefined) throw notFound;
    const { endpoint, params, api } = found;
    // a client that removes hundreds of containers at once must not stop everyone's streams
    if (method !== "GET" && method !== "HEAD") await turns();
    const body = endpoint.body === undefined ? undefined : await readBody(exchange, endpoint.body, endpoint.bodyRequired ?? false);
    const call: Call<unknown> = {
      services: options.services,
      api,
      params,
      query: new Query(mark < 0 ? "" : target.slice(mark + 1)),
      body,
      exchange,
      get signal() {
        return exchange.signal;
      },
    };
    const reply = await endpoint.handler(call as Call<never>);
    if (reply !== undefined) sendReply(exchange, reply);
    else if (!exchange.responded) throw new Error(`${method} ${endpoint.path} gave no answer`);
  } catch (error) {
    sendError(exchange, path, error, options.log);
  } finally {
    measured.ended();
  }
}

function sendReply(exchange: Exchange, reply: Reply): void {
  if (reply.json !== undefined) {
    exchange.reply(reply.status, { "Content-Type": "application/json", ...reply.headers }, JSON.stringify(reply.json) + "\n");
  } else if (reply.text !== undefined) {
    exchange.reply(reply.status, { "Content-Type": "text/plain; charset=utf-8", ...reply.headers }, reply.text);
  } else exchange.reply(reply.status, reply.headers ?? {});
}

function sendError(exchange: Exchange, path: string, error: unknown, log: Logger): void {
  const { status, message, unexpected } = errorAnswer(error);
  // what breaks off because its client has gone is nobody's fault
  if (unexpected && !(exchange.signal.aborted && isAbort(error)))
    log.error(`${exchange.head.method} ${path} failed`, { error, stack: error instanceof Error ? error.stack : undefined });
  if (exchange.responded) {
    // too late for a status; the connection breaks off, so that the client sees it
    if (!unexpected && status !== 499) log.debug(`${exchange.head.method} ${path} broke off`, { error: messageOf(error) });
    return;
  }
  exchange.reply(status, { "Content-Type": "application/json" }, JSON.stringify({ message }) + "\n");
}

/** As streams and fetch say it. */
const isAbort = (error: unknown): boolean => error instanceof Error && error.name === "AbortError";

/** The request's JSON in its schema's shape. After one that took long others have their turn. @throws EngineError invalidArgument */
async function readBody(exchange: Exchange, schema: NonNullable<Endpoint["body"]>, required: boolean): Promise<unknown> {
  const value = await readJson(exchange, required);
  const pause = createPause();
  const body = check(schema, value);
  await pause();
  return body;
}

/** The request's JSON, with dockerd's checks and texts. Each step of a long one has its own turn. @throws EngineError invalidArgument */
async function readJson(exchange: Exchange, required: boolean): Promise<unknown> {
  const { body, head } = exchange;
  const type = head.headers["content-type"] ?? "";
  if (!body.present && !required) {
    if (type !== "") checkJsonType(type);
    return {};
  }
  if (body.present) checkJsonType(type);
  const bytes = await body.bytes(maxJsonBody);
  const pause = createPause();
  // parsing is recursive and each level costs; a short body can't have that many
  if (bytes.length > maxJsonDepth && isTooDeep(bytes)) throw invalidArgument("invalid JSON: exceeded max depth");
  const text = bytes.toString("utf8").trim();
  await pause();
  if (text === "") {
    // an empty chunked body
    throw invalidArgument("invalid JSON: got EOF while reading request body");
  }
  const value = parseJson(text) ?? {};
  await pause();
  return value;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalidArgument(hasTrailingContent(text) ? "unexpected content after JSON" : `invalid JSON: ${messageOf(error)}`, error);
  }
}

function checkJsonType(header: string): void {
  const type = header.split(";", 1)[0]!.trim().toLowerCase();
  if (type === "") throw invalidArgument("malformed Content-Type header (): mime: no media type");
  if (type !== "application/json") throw invalidArgument(`unsupported Content-Type header (${header}): must be 'application/json'`);
}

/** Are more than `maxJsonDepth` arrays and objects open anywhere? */
function isTooDeep(bytes: Buffer): boolean {
  let depth = 0;
  let quoted = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (quoted) {
      if (byte === 0x5c) at++;
      else if (byte === 0x22) quoted = false;
    } else if (byte === 0x22) quoted = true;
    else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > maxJsonDepth) return true;
    } else if (byte === 0x7d || byte === 0x5d) depth--;
  }
  return false;
}

/** Is there a whole JSON object, and then something else? */
function hasTrailingContent(text: string): boolean {
  if (!text.startsWith("{")) return false;
  let depth = 0;
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (quoted) {
      if (char === "\\") at++;
      else if (char === '"') quoted = false;
    } else if (char === '"') quoted = true;
    else if (char === "{" || char === "[") depth++;
    else if (char === "}" || char === "]") depth--;
    if (depth === 0 && !quoted) return at < text.length - 1;
  }
  return false;
}
