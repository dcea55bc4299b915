import { endpoint, type Reply } from "../endpoint.ts";

const headers = {
  "Cache-Control": "no-cache, no-store, must-revalidate",
  Pragma: "no-cache",
  // 1: POST /build serves builds
  "Builder-Version": "1",
  Swarm: "inactive",
};

const ok: Reply = { status: 200, text: "OK", headers };

export const ping = endpoint({ method: "GET", path: "/_ping", handler: () => ok });
export const pingHead = endpoint({ method: "HEAD", path: "/_ping", handler: () => ({ status: 200, text: "", headers }) });
export const options = endpoint({ method: "OPTIONS", path: "*", handler: () => ({ status: 200 }) });
