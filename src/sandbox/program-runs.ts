import { childrenOf } from "../kernel/process.ts";
import { within } from "../lib/within.ts";
import { runsRuntime } from "../runtime/command-runtime.ts";

const LOOK_MS = 5;
/** The program may itself be a runtime, or one that shows no children. */
const LONGEST_MS = 5000;

/**
 * Resolves when a started init has become the container's program, or the small init of `--init` has started that. Before, it would lose every signal: the
 * kernel drops what the first process of a PID namespace neither catches nor blocks (pid_namespaces(7)), and the runtime catches none. On a
 * busy host, or with a small share of the processor, that lasts for longer than a client needs to ask for a stop.
 */
export async function programRuns(pid: number, options: { smallInit: boolean; exited: Promise<unknown> }): Promise<void> {
  const runs = (): boolean => !runsRuntime(pid) && (!options.smallInit || childrenOf(pid).length > 0);
  for (let waited = 0; waited < LONGEST_MS && !runs(); waited += LOOK_MS) if (await within(options.exited, LOOK_MS)) return;
}
