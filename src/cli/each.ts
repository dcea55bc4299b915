import { describe } from "./describe.ts";
import { CliError } from "./errors.ts";
import type { Streams } from "./io.ts";

/**
 * Does one thing to each of several objects, all of them at once, and prints the argument (or what `work` gives, nothing where that is empty) of each that succeeded, in
 * order.
 * Failures are printed too and make the exit code 1, but stop none of the others.
 */
export async function forEach(io: Streams, names: readonly string[], work: (name: string) => Promise<string | void>): Promise<number> {
  const results = await Promise.allSettled(names.map(work));
  let failed = false;
  for (const [index, result] of results.entries()) {
    if (result.status === "fulfilled") {
      const shown = result.value ?? names[index];
      if (shown !== "") await io.out.write(`${shown}\n`);
    } else {
      failed = true;
      const text = describe(result.reason);
      if (!(result.reason instanceof CliError && text === "")) await io.err.write(`${text}\n`);
    }
  }
  return failed ? 1 : 0;
}
