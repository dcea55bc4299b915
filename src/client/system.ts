import { filtersParam, headerJson } from "./query.ts";
import type { Transport } from "./transport.ts";
import type { AuthConfig, DiskUsage, EventMessage, Filters, InfoResponse, ProgressLine, VersionResponse } from "./types.ts";

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
    /** Berth's own: looks at everything that is stored. The report is the last line's `aux.report`; problems come as `aux.problem`. */
    check: (
      options: { repair?: boolean; quick?: boolean; auths?: Record<string, AuthConfig>; signal?: AbortSignal } = {},
    ): Promise<AsyncIterable<ProgressLine>> =>
      transport.lines("POST", "/berth/system/check", {
        query: { repair: options.repair, quick: options.quick },
        headers: options.auths === undefined ? {} : { "X-Registry-Config": headerJson(options.auths) },
        signal: options.signal,
      }),
    /** Checks credentials with their registry. */
    auth: (auth: AuthConfig): Promise<{ Status: string; IdentityToken?: string }> => transport.json("POST", "/auth", { json: auth }),
  };
}
