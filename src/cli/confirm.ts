import { CliError } from "./errors.ts";
import type { Streams } from "./io.ts";

/** Asks before something that can't be undone. @throws CliError unless the answer is yes */
export async function confirm(io: Streams, warning: string): Promise<void> {
  await io.out.write(`${warning}\nAre you sure you want to continue? [y/N] `);
  const answer = (await readLine(io)).trim().toLowerCase();
  if (answer !== "y" && answer !== "yes") throw new CliError("", 1);
}

/** One line of standard input; empty at its end. */
export async function readLine(io: Streams): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of io.stdin.stream()) {
    text += decoder.decode(chunk, { stream: true });
    const eol = text.search(/[\r\n]/);
    if (eol >= 0) return text.slice(0, eol);
  }
  return text;
}
