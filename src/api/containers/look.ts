import { nextTurn } from "../../lib/turns.ts";
import type { Change } from "../../snapshots/types.ts";
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

/** Changes that are written without letting others in between; a container may have 100,000s. */
const atOnce = 2000;
const kinds = { modify: 0, add: 1, delete: 2 } as const;

export const containerChanges = endpoint({
  method: "GET",
  path: "/containers/{id}/changes",
  handler: async ({ services, params, exchange }) => {
    const changes = await services.containers.changes(params.id!);
    const wire = (part: readonly Change[]): ContainerChange[] => part.map(({ path, kind }) => ({ Path: path, Kind: kinds[kind] }));
    // null where nothing changed, as Go writes a nil slice
    if (changes.length <= atOnce) return json(changes.length === 0 ? null : wire(changes));
    const stream = exchange.stream(200, { "Content-Type": "application/json" });
    for (let at = 0; at < changes.length; at += atOnce) {
      const part = JSON.stringify(wire(changes.slice(at, at + atOnce))).slice(1, -1);
      await stream.write(`${at === 0 ? "[" : ","}${part}`);
      await nextTurn();
    }
    await stream.write("]\n");
    stream.end();
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
