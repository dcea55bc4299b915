import { notFound } from "../../lib/errors.ts";
import { endpoint, json } from "../endpoint.ts";

/** Where dockerd shows Go's variables, with `--debug` only. pprof's pages are Go's alone. */
export const debugVars = endpoint({
  method: "GET",
  path: "/debug/vars",
  handler: async ({ services }) => {
    if (!services.system.debug) throw notFound("page not found");
    return json(await services.system.debugState());
  },
});
