import { createPause } from "../lib/turns.ts";

/** A list as JSON text, an item at a time and in turns with everything else: there may be thousands of them. `toWire` makes each. */
export async function jsonList<T>(items: Iterable<T>, toWire: (item: T) => unknown): Promise<string> {
  const pause = createPause();
  const texts: string[] = [];
  for (const item of items) {
    await pause();
    texts.push(JSON.stringify(await toWire(item)));
  }
  return `[${texts.join(",")}]`;
}
