import { invalidArgument } from "../../lib/errors.ts";
import { endpoint, json } from "../endpoint.ts";
import { decodePlatform } from "../platform.ts";
import { repoTag } from "./names.ts";

export const tagImage = endpoint({
  method: "POST",
  path: "/images/{name*}/tag",
  handler: ({ services, params, query }) => {
    const target = repoTag(query.text("repo"), query.text("tag"));
    if (target === undefined) throw invalidArgument("no repository was given to tag the image with");
    services.images.tag(params.name!, target);
    return { status: 201 };
  },
});

export const deleteImage = endpoint({
  method: "DELETE",
  path: "/images/{name*}",
  handler: async ({ services, params, query, api }) => {
    if (params.name!.trim() === "") throw invalidArgument("image name cannot be blank");
    const platforms = api < 50 ? [] : query.all("platforms").map(decodePlatform);
    return json(await services.images.remove(params.name!, { force: query.bool("force"), noPrune: query.bool("noprune"), platforms }));
  },
});

export const pruneImages = endpoint({
  method: "POST",
  path: "/images/prune",
  since: 25,
  handler: async ({ services, query }) => {
    const { deleted, spaceReclaimed } = await services.images.prune({ filters: query.filters(["dangling", "label", "label!", "until"]) });
    return json({ ImagesDeleted: deleted.length === 0 ? null : deleted, SpaceReclaimed: spaceReclaimed });
  },
});
