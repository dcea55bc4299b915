import { endpoint, json } from "../endpoint.ts";
import { size } from "../streams/size.ts";
import type { ContainerChange, ContainerTop } from "../types/containers.ts";

/** Small endpoints that look at a container, or at all of them. */

export const topContainer = endpoint({
  method: "GET",
  path: "/containers/{id}/top",
  handler: async ({ services, params, query }) => {
    const { titles, processes } = await services.containers.top(params.id!, query.text("ps_args"));
    const answer: ContainerTop = { Titles: titles, Processes: processes.length === 0 ? null : processes };
    return json(answer);
  },
});

const kinds = { modify: 0, add: 1, delete: 2 } as const;

export const containerChanges = endpoint({
  method: "GET",
  path: "/containers/{id}/changes",
  handler: async ({ services, params }) => {
    const changes = await services.containers.changes(params.id!);
    const answer: ContainerChange[] = changes.map(({ path, kind }) => ({ Path: path, Kind: kinds[kind] }));
    // null where nothing changed, as Go writes a nil slice
    return json(answer.length === 0 ? null : answer);
  },
});

export const resizeContainer = endpoint({
  method: "POST",
  path: "/containers/{id}/resize",
  handler: async ({ services, params, query }) => {
    await services.containers.resize(params.id!, size(query, "h", "height"), size(query, "w", "width"));
    return { status: 200 };
  },
});

export const pruneContainers = endpoint({
  method: "POST",
  path: "/containers/prune",
  since: 25,
  handler: async ({ services, query }) => {
    const { deleted, spaceReclaimed } = await services.containers.prune(query.filters(["until", "label", "label!"]));
    return json({ ContainersDeleted: deleted.length === 0 ? null : deleted, SpaceReclaimed: spaceReclaimed });
  },
});
