import { expect, test } from "bun:test";
import { createExposition, Histogram } from "./metrics.ts";

test("samples in Prometheus' text format", () => {
  const out = createExposition();
  out.counter("a_total", "Counts\nthings \\", [
    [{}, 1],
    [{ name: 'x"y\\z\n' }, 2.5],
  ]);
  const histogram = new Histogram([0.1, 1]);
  for (const value of [0.1, 0.5, 0.5, 7]) histogram.observe(value);
  out.histogram("h_seconds", "Takes time", [[{ k: "v" }, histogram]]);
  expect(out.text()).toBe(
    [
      "# HELP a_total Counts\\nthings \\\\",
      "# TYPE a_total counter",
      "a_total 1",
      'a_total{name="x\\"y\\\\z\\n"} 2.5',
      "# HELP h_seconds Takes time",
      "# TYPE h_seconds histogram",
      'h_seconds_bucket{k="v",le="0.1"} 1',
      'h_seconds_bucket{k="v",le="1"} 3',
      'h_seconds_bucket{k="v",le="+Inf"} 4',
      'h_seconds_sum{k="v"} 8.1',
      'h_seconds_count{k="v"} 4',
      "",
    ].join("\n"),
  );
});
