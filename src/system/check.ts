import type { Containers } from "../containers/types.ts";
import type { CheckOptions, CheckReport } from "../images/check/types.ts";
import type { Images } from "../images/types.ts";
import type { Snapshots } from "../snapshots/types.ts";

/** What images/ stores, and what containers stand on. @throws EngineError conflict where a check is under way, cancelled */
export async function checkStorage(
  deps: { images: Images; containers: Containers; snapshots: Pick<Snapshots, "inventory"> },
  options: CheckOptions,
): Promise<CheckReport> {
  const { images, containers, snapshots } = deps;
  const report = await images.check(options);
  const present = new Set(snapshots.inventory().flatMap((each) => (each.present ? [each.id] : [])));
  const records = containers.list({ all: true });
  for (const { id, name, snapshot, layers } of records) {
    options.onProgress("containers", ++report.checked.containers, records.length);
    const shown = name.replace(/^\//, "");
    const what = !present.has(snapshot)
      ? "has lost its writable layer"
      : layers.some((layer) => !present.has(layer))
        ? "stands on a layer that has lost its files"
        : undefined;
    if (what === undefined) continue;
    const problem = {
      kind: "container" as const,
      id,
      images: [],
      problem: `container ${shown} ${what}`,
      next: `remove it (berth rm -f ${shown}) and make it anew: it can't start`,
    };
    report.problems.push(problem);
    options.onProblem(problem);
  }
  return report;
}
