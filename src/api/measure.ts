import { Histogram, type Exposition, type Labels } from "../lib/metrics.ts";
import type { Endpoint } from "./endpoint.ts";

/** Prometheus' usual bounds, and two below. */
const bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** What dockerd counts as actions of containers. */
const actions: Readonly<Record<string, string>> = {
  "POST /containers/create": "create",
  "POST /containers/{id}/start": "start",
  "DELETE /containers/{id}": "delete",
  "GET /containers/{id}/changes": "changes",
  "POST /commit": "commit",
};

interface Figures {
  labels: Labels;
  codes: Map<number, number>;
  /** Seconds to the head of the answer: streams last as long as their clients like. */
  time: Histogram;
}

/** Figures of the API's requests. */
export interface ApiMeasure {
  /** `endpoint`: undefined where the path is none of ours. */
  begin(endpoint: Endpoint | undefined): { answered(status: number): void; ended(): void };
  write(out: Exposition): void;
}

/** `onRequest` is called at each. */
export function createApiMeasure(onRequest: () => void): ApiMeasure {
  const all = new Map<Endpoint | undefined, Figures>();
  let inFlight = 0;
  return {
    begin: (endpoint) => {
      onRequest();
      let figures = all.get(endpoint);
      if (figures === undefined) {
        figures = { labels: { method: endpoint?.method ?? "", endpoint: endpoint?.path ?? "" }, codes: new Map(), time: new Histogram(bounds) };
        all.set(endpoint, figures);
      }
      const { codes, time } = figures;
      const begun = performance.now();
      inFlight++;
      return {
        answered: (status) => {
          codes.set(status, (codes.get(status) ?? 0) + 1);
          time.observe((performance.now() - begun) / 1000);
        },
        ended: () => {
          inFlight--;
        },
      };
    },
    write: (out) => {
      const list = [...all.values()];
      out.gauge("berth_api_requests_in_flight", "Requests and streams under way, this scrape included", [[{}, inFlight]]);
      out.counter(
        "berth_api_requests_total",
        "Answered requests by method, endpoint and code",
        list.flatMap(({ labels, codes }) => [...codes].map(([code, count]): [Labels, number] => [{ ...labels, code: String(code) }, count])),
      );
      out.histogram(
        "berth_api_request_duration_seconds",
        "Time from a request to the head of its answer",
        list.map(({ labels, time }): [Labels, Histogram] => [labels, time]),
      );
      const timed = new Map(list.map(({ labels, time }) => [actions[`${labels["method"]} ${labels["endpoint"]}`], time]));
      out.histogram(
        "engine_daemon_container_actions_seconds",
        "The number of seconds it takes to process each container action",
        Object.values(actions).map((action): [Labels, Histogram] => [{ action }, timed.get(action) ?? new Histogram(bounds)]),
      );
    },
  };
}
