import { endpoint, json, jsonText } from "../endpoint.ts";
import { toInspect } from "./convert.ts";

/** Kept as text until something of the container changes: it is what clients ask most often. */
export const inspectContainer = endpoint({
  method: "GET",
  path: "/containers/{id}/json",
  handler: async ({ services, params, query, api }) => {
    const { containers, paths } = services;
    const record = containers.get(params.id!);
    const execIds = containers.execIds(record.id);
    const network = containers.networkSettings(record);
    if (query.bool("size")) return json(toInspect(record, network, { paths, api, execIds, sizes: await containers.sizes(record.id) }));
    const kind = `${api} ${execIds.join()}`;
    if (network.kept.inspect?.kind !== kind) network.kept.inspect = { kind, pieces: [JSON.stringify(toInspect(record, network, { paths, api, execIds }))] };
    return jsonText(network.kept.inspect.pieces[0]!);
  },
});
