import { notImplemented } from "../../lib/errors.ts";
import { endpoint, json } from "../endpoint.ts";
import type { ImageHistoryItem } from "../types/images.ts";
import { toImageInspect, toImageSummary } from "./convert.ts";

export const listImages = endpoint({
  method: "GET",
  path: "/images/json",
  handler: ({ services, query, api }) => {
    const filters = query.filters(["before", "dangling", "label", "label!", "reference", "since", "until"]);
    // clients of 1.24 send a name as `filter`
    const name = api < 25 ? query.optional("filter") : undefined;
    if (name !== undefined) filters.reference ??= [name];
    const records = services.images.list({ all: query.bool("all"), filters });
    const shared = api >= 42 && query.bool("shared-size") ? services.images.sharedSizes() : undefined;
    return json(
      records.map((record) =>
        toImageSummary(record, { api, containers: services.containers.usingImage(record.id).length, sharedSize: shared?.get(record.id) ?? -1 }),
      ),
    );
  },
});

export const inspectImage = endpoint({
  method: "GET",
  path: "/images/{name*}/json",
  handler: ({ services, params, api }) => json(toImageInspect(services.images.resolve(params.name!), { api, snapshots: services.paths.snapshots })),
});

export const imageHistory = endpoint({
  method: "GET",
  path: "/images/{name*}/history",
  handler: ({ services, params }) => {
    const items = services.images.history(params.name!).map((entry): ImageHistoryItem => ({
      Id: entry.id ?? "<missing>",
      Created: entry.createdSeconds,
      CreatedBy: entry.created_by ?? "",
      Tags: entry.tags.length === 0 ? null : entry.tags,
      Size: entry.size,
      Comment: entry.comment ?? "",
    }));
    return json(items);
  },
});

export const searchImages = endpoint({
  method: "GET",
  path: "/images/search",
  handler: () => {
    throw notImplemented("searching Docker Hub is not supported by this engine: use its web page, https://hub.docker.com/search");
  },
});
