import { filtersParam } from "./query.ts";
import type { Transport } from "./transport.ts";
import type { Filters, PruneResponse, VolumeResource } from "./types.ts";

const at = (name: string): string => `/volumes/${encodeURIComponent(name)}`;

export function volumeCalls(transport: Transport) {
  return {
    list: (filters?: Filters): Promise<{ Volumes?: VolumeResource[] | null; Warnings?: string[] | null }> =>
      transport.json("GET", "/volumes", { query: { filters: filtersParam(filters) } }),
    inspect: (name: string): Promise<VolumeResource> => transport.json("GET", at(name)),
    create: (request: { Name?: string; Driver?: string; DriverOpts?: Record<string, string>; Labels?: Record<string, string> }): Promise<VolumeResource> =>
      transport.json("POST", "/volumes/create", { json: request }),
    remove: async (name: string, options: { force?: boolean } = {}): Promise<void> => {
      await transport.request("DELETE", at(name), { query: { force: options.force } });
    },
    /** Berth's own: another name, which its containers know it by from then on. */
    rename: (name: string, to: string): Promise<VolumeResource> => transport.json("POST", `/berth${at(name)}/rename`, { query: { name: to } }),
    prune: (filters?: Filters): Promise<PruneResponse> => transport.json("POST", "/volumes/prune", { query: { filters: filtersParam(filters) } }),
  };
}
