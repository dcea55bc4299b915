import type { ProgressLine, VolumeResource } from "../../client/types.ts";
import { CliError } from "../errors.ts";
import { showProgressAside } from "../format/progress.ts";
import type { Streams } from "../io.ts";

/** A bar on the terminal while it lasts, then the volume's name on standard output. @throws CliError */
export async function showCopying(io: Streams, lines: AsyncIterable<ProgressLine>): Promise<void> {
  const done = await showProgressAside<{ volume: VolumeResource; warning: string }>(lines, io);
  if (done.volume === undefined) throw new CliError("the engine ended the copy without a word");
  if (done.warning !== undefined) await io.err.write(`WARNING: ${done.warning}\n`);
  await io.out.write(`${done.volume.Name}\n`);
}
