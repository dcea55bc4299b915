import { endpoint, json } from "../endpoint.ts";
import { toVolume } from "./volumes.ts";

/** Berth's own endpoints for volumes. */

/** Gives a volume the name `name`; its containers know it by that from then on. */
export const renameVolume = endpoint({
  method: "POST",
  path: "/berth/volumes/{name}/rename",
  handler: async ({ services, params, query }) => json(toVolume(await services.containers.renameVolume(params.name!, query.text("name")))),
});
