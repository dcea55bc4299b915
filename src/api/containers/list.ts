import { listFilters } from "../../containers/list.ts";
import type { ContainerRecord } from "../../containers/types.ts";
import { kindOf } from "../../lib/errors.ts";
import { endpoint, json } from "../endpoint.ts";
import type { Services } from "../services.ts";
import { toSummary } from "./convert.ts";

export const listContainers = endpoint({
  method: "GET",
  path: "/containers/json",
  handler: async ({ services, query, api }) => {
    const filters = query.filters([...listFilters]);
    const limit = query.int("limit");
    const records = services.containers.list({
      all: query.bool("all"),
      size: query.bool("size"),
      filters,
      ...(limit === undefined || limit <= 0 ? {} : { limit }),
    });
    const names = imageNames(services);
    const summaries = records.map(async (record) => {
      const sizes = query.bool("size") ? await services.containers.sizes(record.id) : undefined;
      return toSummary(record, services.containers.networkSettings(record), { api, imageName: names(record), ...(sizes === undefined ? {} : { sizes }) });
    });
    return json(await Promise.all(summaries));
  },
});

/** The name a container's image was asked for by, as long as that still is the same image; else the image's id. Each name is looked up once. */
function imageNames(services: Services): (record: ContainerRecord) => string {
  const ids = new Map<string, string | undefined>();
  return (record) => {
    const name = record.config.Image ?? "";
    if (name === "" || record.imageId.includes(name)) return name || record.imageId;
    if (!ids.has(name)) {
      try {
        ids.set(name, services.images.resolve(name).id);
      } catch (error) {
        if (kindOf(error) === "internal") throw error;
        ids.set(name, undefined);
      }
    }
    return ids.get(name) === record.imageId ? name : record.imageId;
  };
}
