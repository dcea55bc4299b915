import { beforeAll, describe, expect, test } from "bun:test";
import { skipped } from "../skips.ts";
import { run, suiteEngine, until } from "./harness.ts";

interface Family {
  type: string;
  samples: { name: string; labels: Record<string, string>; value: number }[];
}

/** Reads Prometheus' text format as strictly as Prometheus does. */
function parse(text: string): Map<string, Family> {
  const families = new Map<string, Family>();
  let current: Family | undefined;
  let currentName = "";
  for (const line of text.split("\n").slice(0, -1)) {
    const header = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(line);
    if (header?.[1] === "HELP") {
      currentName = header[2]!;
      if (families.has(currentName)) throw new Error(`${currentName} stands twice`);
      continue;
    }
    if (header?.[1] === "TYPE") {
      current = { type: header[3]!, samples: [] };
      families.set(header[2]!, current);
      continue;
    }
    const sample = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\]|\\.)*",?)*)\})? (\S+)$/.exec(line);
    if (sample === null || current === undefined || !sample[1]!.startsWith(currentName)) throw new Error(`not a sample: ${line}`);
    const value = Number(sample[3]);
    if (Number.isNaN(value)) throw new Error(`not a number: ${line}`);
    const labels = Object.fromEntries([...(sample[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, text]) => [name!, text!]));
    current.samples.push({ name: sample[1]!, labels, value });
  }
  if (!text.endsWith("\n")) throw new Error("the last line is cut off");
  return families;
}

describe.skipIf(skipped("root", "overlay", "docker"))("/metrics", () => {
  const engine = suiteEngine(["--metrics-addr", "127.0.0.1:9323"]);

  beforeAll(async () => {
    await engine.ok("run", "-d", "--name", "busy", "--memory", "64m", "--pids-limit", "50", "busybox", "sh", "-c", "echo hello; while :; do :; done");
    await engine.ok("run", "-d", "--name", "checked", "--health-cmd", "false", "--health-interval", "100ms", "busybox", "sleep", "1000");
    await engine.ok("create", "--name", "resting", "busybox");
  });

  const scrape = async (): Promise<Map<string, Family>> => {
    const response = await engine.api("GET", "/metrics");
    expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    return parse(await response.text());
  };
  const valueOf = (families: Map<string, Family>, name: string, labels: Record<string, string> = {}): number => {
    const found = families.get(name)?.samples.filter((sample) => Object.entries(labels).every(([key, value]) => sample.labels[key] === value)) ?? [];
    expect({ name, labels, found: found.length }).toEqual({ name, labels, found: 1 });
    return found[0]!.value;
  };

  test("tell of the engine under dockerd's names, and of each container", async () => {
    await until("a check has failed", async () => valueOf(await scrape(), "engine_daemon_health_checks_failed_total") > 0);
    const families = await scrape();
    expect(valueOf(families, "engine_daemon_engine_info", { graphdriver: "overlay2" })).toBe(1);
    expect(valueOf(families, "engine_daemon_container_states_containers", { state: "running" })).toBe(2);
    expect(valueOf(families, "engine_daemon_container_states_containers", { state: "stopped" })).toBe(1);
    expect(valueOf(families, "engine_daemon_events_total")).toBeGreaterThan(4);
    expect(valueOf(families, "berth_containers", { state: "created" })).toBe(1);
    expect(valueOf(families, "berth_images")).toBe(1);
    expect(valueOf(families, "berth_container_memory_limit_bytes", { name: "busy" })).toBe(64 * 1024 * 1024);
    expect(valueOf(families, "berth_container_pids_limit", { name: "busy" })).toBe(50);
    expect(valueOf(families, "berth_container_pids", { name: "checked" })).toBeGreaterThan(0);
    expect(valueOf(families, "berth_container_healthy", { name: "checked" })).toBe(0);
    expect(valueOf(families, "berth_container_info", { name: "busy", image: "busybox", state: "running" })).toBe(1);
    expect(valueOf(families, "berth_container_network_sent_bytes_total", { name: "busy", interface: "eth0" })).toBeGreaterThanOrEqual(0);
    await until("the loop has used a second", async () => valueOf(await scrape(), "berth_container_cpu_seconds_total", { name: "busy" }) > 1);
    expect(valueOf(await scrape(), "berth_container_log_bytes", { name: "busy" })).toBeGreaterThan(0);
  });

  test("count requests by endpoint and code, and how long the event loop stood still", async () => {
    await engine.api("GET", "/containers/nobody/json");
    await engine.api("GET", "/no-such-page");
    const before = await scrape();
    await engine.api("GET", "/containers/nobody/json");
    const families = await scrape();
    const missing = { method: "GET", endpoint: "/containers/{id}/json", code: "404" };
    expect(valueOf(families, "berth_api_requests_total", missing)).toBe(valueOf(before, "berth_api_requests_total", missing) + 1);
    expect(valueOf(families, "berth_api_requests_total", { endpoint: "", code: "404" })).toBe(1);
    expect(valueOf(families, "berth_api_requests_in_flight")).toBe(1);
    // histograms: rising counts that end with the count of all
    for (const [name, { type, samples }] of families) {
      if (type !== "histogram") continue;
      for (const { labels, value } of samples.filter((sample) => sample.name === `${name}_count`)) {
        const own = samples.filter((sample) => sample.name === `${name}_bucket` && Object.entries(labels).every(([key, text]) => sample.labels[key] === text));
        expect(own.map((bucket) => bucket.value)).toEqual(own.map((bucket) => bucket.value).sort((a, b) => a - b));
        expect(own.at(-1)).toMatchObject({ labels: { le: "+Inf" }, value });
      }
    }
    const created = families
      .get("engine_daemon_container_actions_seconds")!
      .samples.find(({ name, labels }) => name.endsWith("_count") && labels["action"] === "create");
    expect(created?.value).toBe(3);
    expect(families.get("berth_event_loop_delay_seconds")!.samples.find(({ name }) => name.endsWith("_count"))!.value).toBeGreaterThan(0);
  });

  test("stand on an address of their own, where nothing else does", async () => {
    const get = async (path: string): Promise<{ code: number; stdout: string }> =>
      await run([...engine.onHost, "busybox", "wget", "-qO-", `http://127.0.0.1:9323${path}`]);
    expect(parse((await get("/metrics")).stdout).has("engine_daemon_engine_info")).toBe(true);
    expect((await get("/info")).code).toBe(1);
    expect((await get("/")).code).toBe(1);
  });
});
