import type { EndpointSettings } from "../oci/container.ts";
import { filtersParam } from "./query.ts";
import type { Transport } from "./transport.ts";
import type { Filters, NetworkCreateRequest, NetworkReport, NetworkResource, PruneResponse } from "./types.ts";

const at = (name: string, verb = ""): string => `/networks/${encodeURIComponent(name)}${verb}`;

export function networkCalls(transport: Transport) {
  return {
    list: (filters?: Filters): Promise<NetworkResource[]> => transport.json("GET", "/networks", { query: { filters: filtersParam(filters) } }),
    inspect: (name: string, options: { verbose?: boolean; scope?: string } = {}): Promise<NetworkResource> =>
      transport.json("GET", at(name), { query: { verbose: options.verbose, scope: options.scope || undefined } }),
    create: (request: NetworkCreateRequest): Promise<{ Id: string; Warning?: string }> => transport.json("POST", "/networks/create", { json: request }),
    remove: async (name: string): Promise<void> => {
      await transport.request("DELETE", at(name));
    },
    connect: async (name: string, container: string, endpoint?: EndpointSettings): Promise<void> => {
      await transport.request("POST", at(name, "/connect"), { json: { Container: container, EndpointConfig: endpoint ?? {} } });
    },
    disconnect: async (name: string, container: string, force = false): Promise<void> => {
      await transport.request("POST", at(name, "/disconnect"), { json: { Container: container, Force: force } });
    },
    check: (options: { repair?: boolean } = {}): Promise<NetworkReport> =>
      transport.json("POST", "/berth/networks/check", { query: { repair: options.repair } }),
    prune: (filters?: Filters): Promise<PruneResponse> => transport.json("POST", "/networks/prune", { query: { filters: filtersParam(filters) } }),
  };
}
