import { expositionType } from "../../lib/metrics.ts";
import { endpoint } from "../endpoint.ts";
import type { HttpHandler } from "../http/connection.ts";

/** Berth's own: what dockerd serves at `--metrics-addr` alone. */
export const metrics = endpoint({
  method: "GET",
  path: "/metrics",
  handler: async ({ services }) => ({ status: 200, text: await services.metrics.scrape(), headers: { "Content-Type": expositionType } }),
});

/** `--metrics-addr`: /metrics and nothing else, for everyone who reaches it. */
export function metricsHandler(scrape: () => Promise<string>): HttpHandler {
  return async (exchange) => {
    const { method, target } = exchange.head;
    if (target.split("?", 1)[0] !== "/metrics") return exchange.reply(404, { "Content-Type": "text/plain; charset=utf-8" }, "404 page not found\n");
    if (method !== "GET" && method !== "HEAD") return exchange.reply(405, { Allow: "GET, HEAD" });
    exchange.reply(200, { "Content-Type": expositionType }, await scrape());
  };
}
