import { readdir } from "node:fs/promises";
import type { Containers } from "../containers/types.ts";
import type { Events } from "../events/types.ts";
import { countOpenFiles } from "./host.ts";

/** What the engine is doing, for whoever looks for a leak or a stall. One walk over the heap, which stops the engine for some milliseconds. */
export async function debugState({ containers, events }: { containers: Containers; events: Events }): Promise<Record<string, unknown>> {
  const { heapStats } = await import("bun:jsc");
  const { objectTypeCounts, heapSize, heapCapacity, protectedObjectCount } = heapStats();
  const states: Record<string, number> = {};
  for (const { state } of containers.list({ all: true })) states[state.status] = (states[state.status] ?? 0) + 1;
  const { user, system } = process.cpuUsage();
  return {
    pid: process.pid,
    uptime: process.uptime(),
    cpu: { user: user / 1e6, system: system / 1e6 },
    memory: process.memoryUsage(),
    heap: { size: heapSize, capacity: heapCapacity, protectedObjects: protectedObjectCount, objects: largest(objectTypeCounts) },
    openFiles: await countOpenFiles(),
    threads: (await readdir("/proc/self/task")).length,
    containers: states,
    eventListeners: events.listeners,
  };
}

/** The twenty commonest kinds. */
function largest(counts: Record<string, number>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(counts)
      .sort((a, b) => b[1] - a[1])
      .slice(0, 20),
  );
}
