import { invalidArgument } from "../../lib/errors.ts";
import { endpoint, json, noContent } from "../endpoint.ts";
import type { Query } from "../query.ts";
import type { ApiVersion } from "../versions.ts";
import { updateRequest } from "./schemas.ts";

/** The verbs that change a container's state and answer 204. */

export const startContainer = endpoint({
  method: "POST",
  path: "/containers/{id}/start",
  handler: async ({ services, params, query, exchange }) => {
    const checkpoint = query.text("checkpoint");
    if (checkpoint !== "") throw invalidArgument(`cannot start container ${params.id} from checkpoint ${checkpoint}: checkpoints are not supported`);
    // a JSON object with something in it has at least 7 characters; shorter bodies are sent by old clients
    if ((exchange.body.length ?? 8) > 7) {
      throw invalidArgument("starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24");
    }
    await services.containers.start(params.id!);
    return noContent;
  },
});

/** Docker's `t` may be negative: wait for ever. */
function stopOptions(query: Query, api: ApiVersion): { signal?: string; timeoutSeconds?: number } {
  const signal = api >= 42 ? query.optional("signal") : undefined;
  const timeoutSeconds = query.int("t");
  return { ...(signal === undefined ? {} : { signal }), ...(timeoutSeconds === undefined ? {} : { timeoutSeconds }) };
}

export const stopContainer = endpoint({
  method: "POST",
  path: "/containers/{id}/stop",
  handler: async ({ services, params, query, api }) => {
    await services.containers.stop(params.id!, stopOptions(query, api));
    return noContent;
  },
});

export const restartContainer = endpoint({
  method: "POST",
  path: "/containers/{id}/restart",
  handler: async ({ services, params, query, api }) => {
    await services.containers.restart(params.id!, stopOptions(query, api));
    return noContent;
  },
});

export const killContainer = endpoint({
  method: "POST",
  path: "/containers/{id}/kill",
  handler: async ({ services, params, query }) => {
    await services.containers.kill(params.id!, query.optional("signal"));
    return noContent;
  },
});

export const pauseContainer = endpoint({
  method: "POST",
  path: "/containers/{id}/pause",
  handler: async ({ services, params }) => {
    await services.containers.pause(params.id!);
    return noContent;
  },
});

export const unpauseContainer = endpoint({
  method: "POST",
  path: "/containers/{id}/unpause",
  handler: async ({ services, params }) => {
    await services.containers.unpause(params.id!);
    return noContent;
  },
});

export const renameContainer = endpoint({
  method: "POST",
  path: "/containers/{id}/rename",
  handler: async ({ services, params, query }) => {
    await services.containers.rename(params.id!, query.text("name"));
    return noContent;
  },
});

export const deleteContainer = endpoint({
  method: "DELETE",
  path: "/containers/{id}",
  handler: async ({ services, params, query }) => {
    await services.containers.remove(params.id!, { force: query.bool("force"), volumes: query.bool("v"), link: query.bool("link") });
    return noContent;
  },
});

/** `docker rm --link web/store`: a link of the default bridge, which has no name but this. */
export const deleteLink = endpoint({
  method: "DELETE",
  path: "/containers/{id}/{alias}",
  handler: async ({ services, params, query }) => {
    await services.containers.remove(`${params.id}/${params.alias}`, { link: query.bool("link") });
    return noContent;
  },
});

/** Before 1.55 an update left them alone. */
const deviceLimits = ["BlkioWeightDevice", "BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps"] as const;

export const updateContainer = endpoint({
  method: "POST",
  path: "/containers/{id}/update",
  body: updateRequest,
  handler: async ({ services, params, body, api }) => {
    const host = { ...body };
    if (api < 40) delete host.PidsLimit;
    if (api < 55) for (const name of deviceLimits) delete host[name];
    // 0 and any negative number mean unlimited
    if (host.PidsLimit !== undefined && host.PidsLimit < 0) host.PidsLimit = 0;
    const { warnings } = await services.containers.update(params.id!, host);
    return json({ Warnings: warnings.length === 0 ? null : warnings });
  },
});
