import { filtersParam } from "./query.ts";
import type { Transport } from "./transport.ts";
import type { Filters, ProgressLine, PruneResponse, VolumeResource } from "./types.ts";

const at = (name: string): string => `/volumes/${encodeURIComponent(name)}`;

interface CopyOptions {
  labels?: Record<string, string>;
  /** Freeze containers that write to it. */
  pause?: boolean;
}

export function volumeCalls(transport: Transport) {
  const copy = (verb: string, name: string, to: string, { labels = {}, pause }: CopyOptions): Promise<AsyncIterable<ProgressLine>> =>
    transport.lines("POST", `/berth${at(name)}/${verb}`, { query: { pause }, json: { Name: to, Labels: labels } });
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
    /** Berth's own copies. The last line's `aux.volume` is the new volume. */
    clone: (name: string, to: string, options: CopyOptions = {}): Promise<AsyncIterable<ProgressLine>> => copy("clone", name, to, options),
    snapshot: (name: string, to: string, options: CopyOptions = {}): Promise<AsyncIterable<ProgressLine>> => copy("snapshot", name, to, options),
    /** The snapshot's files for its volume, or for volume `to`. */
    restore: (snapshot: string, to = ""): Promise<AsyncIterable<ProgressLine>> =>
      transport.lines("POST", `/berth${at(snapshot)}/restore`, { query: { to: to || undefined } }),
    /** All files, as a tar archive. */
    export: (name: string, options: { pause?: boolean } = {}): Promise<Response> =>
      transport.request("GET", `/berth${at(name)}/export`, { query: { pause: options.pause } }),
    import: (name: string, tar: ReadableStream<Uint8Array>, options: { force?: boolean; labels?: readonly string[] } = {}): Promise<VolumeResource> =>
      transport.json("POST", `/berth${at(name)}/import`, {
        query: { force: options.force, label: options.labels },
        body: tar,
        headers: { "Content-Type": "application/x-tar" },
      }),
    prune: (filters?: Filters): Promise<PruneResponse> => transport.json("POST", "/volumes/prune", { query: { filters: filtersParam(filters) } }),
  };
}
