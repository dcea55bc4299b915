import { createExposition, Histogram, type Exposition } from "../lib/metrics.ts";

/** Seconds until an answer's head is ready: a body may take as long as its client. */
const bounds = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10];

export interface RegistryMetrics {
  /** One answered request. `route` is the kind of path, never a name: clients must not make up labels. */
  observe(request: { route: string; method: string; status: number; seconds: number }): void;
  write(out: Exposition): void;
  /** All of it, as Prometheus reads it. */
  text(): string;
}

const methods = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]);

/** `figures` are asked for at each scrape. */
export function createRegistryMetrics(figures: {
  uploads: () => { open: number; received: number };
  cache: () => { hits: number; misses: number; received: number; evicted: number };
  collector: () => { runs: number; blobs: number; manifests: number };
  bytes: () => number;
}): RegistryMetrics {
  const requests = new Map<string, { labels: Record<string, string>; count: number }>();
  const seconds = new Map<string, Histogram>();

  const write = (out: Exposition): void => {
    out.counter(
      "berth_registry_requests_total",
      "Answered requests.",
      [...requests.values()].map(({ labels, count }) => [labels, count] as const),
    );
    out.histogram(
      "berth_registry_request_seconds",
      "Time to the head of an answer.",
      [...seconds].map(([route, histogram]) => [{ route }, histogram] as const),
    );
    const uploads = figures.uploads();
    out.gauge("berth_registry_uploads", "Uploads under way.", [[{}, uploads.open]]);
    out.counter("berth_registry_received_bytes_total", "Bytes of blobs taken from clients.", [[{}, uploads.received]]);
    out.gauge("berth_registry_stored_bytes", "Bytes that the registry keeps, each blob once.", [[{}, figures.bytes()]]);
    const cache = figures.cache();
    out.counter("berth_registry_cache_requests_total", "Requests for copies of other registries.", [
      [{ result: "hit" }, cache.hits],
      [{ result: "miss" }, cache.misses],
    ]);
    out.counter("berth_registry_cache_received_bytes_total", "Bytes taken from other registries.", [[{}, cache.received]]);
    out.counter("berth_registry_cache_evicted_total", "Copies that made room for others.", [[{}, cache.evicted]]);
    const collected = figures.collector();
    out.counter("berth_registry_collections_total", "Collections of what nothing names.", [[{}, collected.runs]]);
    out.counter("berth_registry_collected_total", "What was collected.", [
      [{ kind: "blob" }, collected.blobs],
      [{ kind: "manifest" }, collected.manifests],
    ]);
  };

  return {
    observe: ({ route, method, status, seconds: taken }) => {
      const labels = { route, method: methods.has(method) ? method : "other", code: String(status) };
      const key = Object.values(labels).join(" ");
      const found = requests.get(key);
      if (found === undefined) requests.set(key, { labels, count: 1 });
      else found.count++;
      let histogram = seconds.get(route);
      if (histogram === undefined) seconds.set(route, (histogram = new Histogram(bounds)));
      histogram.observe(taken);
    },
    write,
    text: () => {
      const out = createExposition();
      write(out);
      return out.text();
    },
  };
}
