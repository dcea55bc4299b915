import { endpoint, json } from "../endpoint.ts";

/** Berth's own: looks at all that containers' networks need; with `repair` it mends what is safely mended. */
export const checkNetworks = endpoint({
  method: "POST",
  path: "/berth/networks/check",
  handler: async ({ services, query }) => {
    const atRest = services.containers.list({ all: true }).filter(({ state }) => ["created", "exited", "dead"].includes(state.status));
    return json(await services.networks.check({ repair: query.bool("repair"), atRest: new Set(atRest.map(({ id }) => id)) }));
  },
});
