import { endpoint, json } from "../endpoint.ts";
import { toInspect } from "./convert.ts";

export const inspectContainer = endpoint({
  method: "GET",
  path: "/containers/{id}/json",
  handler: async ({ services, params, query, api }) => {
    const { containers, paths } = services;
    const record = containers.get(params.id!);
    const sizes = query.bool("size") ? await containers.sizes(record.id) : undefined;
    return json(
      toInspect(record, containers.networkSettings(record), { paths, api, execIds: containers.execIds(record.id), ...(sizes === undefined ? {} : { sizes }) }),
    );
  },
});
