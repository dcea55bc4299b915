import { applyChanges } from "../changes.ts";
import { endpoint, json } from "../endpoint.ts";
import { repoTag } from "../images/names.ts";
import { object } from "../schema.ts";
import { sendBytes } from "../streams/bytes.ts";
import { configShape } from "./schemas.ts";

/** A container as an image, or as a plain archive. */

export const commitContainer = endpoint({
  method: "POST",
  path: "/commit",
  body: object(configShape),
  handler: async ({ services, query, body }) => {
    const record = services.containers.get(query.text("container"));
    const reference = repoTag(query.text("repo"), query.text("tag"));
    // without a configuration the changes are made to the container's
    const base = Object.keys(body).length === 0 ? record.config : body;
    const image = await services.containers.commit(record.id, {
      author: query.text("author"),
      comment: query.text("comment"),
      pause: query.bool("pause", true),
      config: applyChanges(base, query.all("changes")),
      ...(reference === undefined ? {} : { reference }),
    });
    return json({ Id: image.id }, 201);
  },
});

export const exportContainer = endpoint({
  method: "GET",
  path: "/containers/{id}/export",
  handler: ({ services, params, exchange, signal }) =>
    services.containers.exportRoot(params.id!, { signal }, (tar) => sendBytes(exchange, { "Content-Type": "application/octet-stream" }, tar)),
});
