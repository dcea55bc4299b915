import { endpoint, json, jsonText, type Call, type Reply } from "../endpoint.ts";
import { toInspect } from "./convert.ts";

export const inspectContainer = endpoint({
  method: "GET",
  path: "/containers/{id}/json",
  handler: (call) => inspect(call, call.params.id!),
});

/** By the name of a link of the default bridge: `web/store`. */
export const inspectLinked = endpoint({
  method: "GET",
  path: "/containers/{id}/{alias}/json",
  handler: (call) => inspect(call, `${call.params.id}/${call.params.alias}`),
});

/** Kept as text until something of the container changes: it is what clients ask most often. */
async function inspect({ services, query, api }: Call, reference: string): Promise<Reply> {
  const { containers, paths } = services;
  const record = containers.get(reference);
  const execIds = containers.execIds(record.id);
  const network = containers.networkSettings(record);
  if (query.bool("size")) return json(toInspect(record, network, { paths, api, execIds, sizes: await containers.sizes(record.id) }));
  const kind = `${api} ${execIds.join()}`;
  if (network.kept.inspect?.kind !== kind) network.kept.inspect = { kind, pieces: [JSON.stringify(toInspect(record, network, { paths, api, execIds }))] };
  return jsonText(network.kept.inspect.pieces[0]!);
}
