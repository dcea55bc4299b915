import type { z } from "zod";
import type { Exchange } from "./http/connection.ts";
import type { Query } from "./query.ts";
import type { Services } from "./services.ts";
import type { ApiVersion } from "./versions.ts";

export type Method = "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS";

/** What a handler is given. */
export interface Call<Body = undefined> {
  readonly services: Services;
  readonly api: ApiVersion;
  /** Decoded parts of the path. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: Query;
  readonly body: Body;
  /** For streams, hijacks and raw bodies. */
  readonly exchange: Exchange;
  readonly signal: AbortSignal;
}

/** An answer in one piece. A handler that has answered through its exchange returns nothing. */
export interface Reply {
  status: number;
  headers?: Record<string, string>;
  /** Sent as JSON. */
  json?: unknown;
  text?: string;
}

export type HandlerResult = Reply | void | Promise<Reply | void>;

/** One endpoint: everything about it stands here. */
export interface Endpoint {
  method: Method;
  /** `{id}` stands for one segment, `{name*}` for any number of them. */
  path: string;
  /** First API version that has it. */
  since?: ApiVersion;
  /** Shape of a JSON body. Without a body, the schema is given `{}`. */
  body?: z.ZodType;
  /** An absent or empty body is refused. */
  bodyRequired?: boolean;
  handler(call: Call<never>): HandlerResult;
}

/** Ties the handler's `call.body` to the schema's type. */
export function endpoint<Schema extends z.ZodType>(
  definition: Omit<Endpoint, "handler" | "body"> & { body: Schema; handler(call: Call<z.infer<Schema>>): HandlerResult },
): Endpoint;
export function endpoint(definition: Omit<Endpoint, "handler" | "body"> & { handler(call: Call): HandlerResult }): Endpoint;
export function endpoint(definition: Omit<Endpoint, "handler"> & { handler(call: never): HandlerResult }): Endpoint {
  return definition as Endpoint;
}

export const json = (value: unknown, status = 200): Reply => ({ status, json: value });
/** As `json`, of what is JSON already. */
export const jsonText = (text: string): Reply => ({ status: 200, headers: { "Content-Type": "application/json" }, text: `${text}\n` });
export const noContent: Reply = { status: 204 };
