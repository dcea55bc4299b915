import type { ProgressLine, VolumeResource } from "../../client/types.ts";
import { CliError } from "../errors.ts";
import { showProgress } from "../format/progress.ts";
import type { Streams } from "../io.ts";

/** A bar on the terminal while it lasts, then the volume's name on standard output. @throws CliError */
export async function showCopying(io: Streams, lines: AsyncIterable<ProgressLine>): Promise<void> {
  let done: { volume?: VolumeResource; warning?: string } = {};
  // bars are for people: the name stays alone on standard output
  const sink = io.err.isTty ? io.err : { ...io.err, write: async () => {} };
  await showProgress(lines, sink, { rows: io.windowSize()?.rows, onAux: (aux) => (done = aux as typeof done) });
  if (done.volume === undefined) throw new CliError("the engine ended the copy without a word");
  if (done.warning !== undefined) await io.err.write(`WARNING: ${done.warning}\n`);
  await io.out.write(`${done.volume.Name}\n`);
}
