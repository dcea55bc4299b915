import { containerCalls, execCalls } from "./containers.ts";
import { parseHost, type ClientTls, type Host } from "./host.ts";
import { imageCalls } from "./images.ts";
import { networkCalls } from "./networks.ts";
import { systemCalls } from "./system.ts";
import { createTransport } from "./transport.ts";
import { volumeCalls } from "./volumes.ts";

export interface ClientOptions {
  /** `unix:///path`, `tcp://host:port`, or already parsed. */
  host: string | Host;
  /** Fixes the API version (`1.43`); without it the newest both sides know. */
  version?: string;
  tls?: ClientTls;
  userAgent?: string;
  /** Sent with each request (config.json's HttpHeaders). */
  headers?: Record<string, string>;
}

/**
 * A client of the Engine API, without state beyond the API version found. Every call throws ApiError where the engine refuses (its sentence, its
 * status) and ConnectionError where it can't be reached.
 */
export function createClient(options: ClientOptions) {
  const host = typeof options.host === "string" ? parseHost(options.host, options.tls !== undefined) : options.host;
  const { tls, version, userAgent, headers } = options;
  const transport = createTransport({ host, tls, version, userAgent, headers });
  return {
    host,
    transport,
    containers: containerCalls(transport),
    exec: execCalls(transport),
    images: imageCalls(transport),
    networks: networkCalls(transport),
    volumes: volumeCalls(transport),
    system: systemCalls(transport),
  };
}

export type Client = ReturnType<typeof createClient>;
