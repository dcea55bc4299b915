import { invalidArgument } from "../../lib/errors.ts";
import { endpoint, noContent } from "../endpoint.ts";

/** Berth's own: what a host's shutdown asks for before the engine itself is stopped (packaging/systemd/berth-shutdown.service). Answers once all are at rest. */
export const stopAllContainers = endpoint({
  method: "POST",
  path: "/berth/containers/stop",
  handler: async ({ services, query }) => {
    const seconds = query.int("t") ?? services.system.stopTimeout;
    if (seconds < -1) throw invalidArgument(`invalid value ${seconds} of parameter t: want seconds, or -1 to wait without a limit`);
    await services.containers.stopAll(seconds);
    return noContent;
  },
});
