import { filtersParam } from "./query.ts";
import type { Transport } from "./transport.ts";
import type { AuthConfig, DiskUsage, EventMessage, Filters, InfoResponse, VersionResponse } from "./types.ts";

export function systemCalls(transport: Transport) {
  return {
    info: (): Promise<InfoResponse> => transport.json("GET", "/info"),
    version: (): Promise<VersionResponse> => transport.json("GET", "/version"),
    diskUsage: (options: { verbose?: boolean } = {}): Promise<DiskUsage> => transport.json("GET", "/system/df", { query: { verbose: options.verbose } }),
    /** Follows until `until`, or for ever. */
    events: (options: { since?: string; until?: string; filters?: Filters; signal?: AbortSignal } = {}): Promise<AsyncIterable<EventMessage>> =>
      transport.lines("GET", "/events", {
        query: { since: options.since || undefined, until: options.until || undefined, filters: filtersParam(options.filters) },
        signal: options.signal,
      }),
    /** Berth's own: stops every container, as the engine does at its host's shutdown. `timeout` in seconds is for those that set none. */
    stopAll: async (timeout?: number): Promise<void> => void (await transport.request("POST", "/berth/containers/stop", { query: { t: timeout } })),
    /** Checks credentials with their registry. */
    auth: (auth: AuthConfig): Promise<{ Status: string; IdentityToken?: string }> => transport.json("POST", "/auth", { json: auth }),
  };
}
