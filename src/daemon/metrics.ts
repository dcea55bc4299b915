import { createHttpServer } from "../api/http/listen.ts";
import { metricsHandler } from "../api/system/metrics.ts";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { createExposition, type Exposition } from "../lib/metrics.ts";
import { parseMetricsAddress } from "./check-options.ts";

/** Puts the parts' figures together at each scrape; those who ask at the same time share one. */
export function createScrape(...parts: ((out: Exposition) => void | Promise<void>)[]): () => Promise<string> {
  let running: Promise<string> | undefined;
  const scrape = async (): Promise<string> => {
    const out = createExposition();
    for (const part of parts) await part(out);
    return out.text();
  };
  return () => (running ??= scrape().finally(() => (running = undefined)));
}

/** Serves them on an address of their own. @throws EngineError invalidArgument where it is taken */
export async function serveMetrics(address: string, scrape: () => Promise<string>, log: Logger): Promise<AsyncDisposable> {
  const server = createHttpServer({ log, commonHeaders: "", handler: metricsHandler(scrape) });
  try {
    await server.listen({ kind: "tcp", ...parseMetricsAddress(address) });
  } catch (error) {
    throw invalidArgument(`can't serve metrics on ${address}: ${messageOf(error)}`, error);
  }
  log.info("metrics are served", { address });
  return { [Symbol.asyncDispose]: () => server.close() };
}
