import { createPause } from "../lib/turns.ts";

/**
 * A list as JSON, made an item at a time and in turns with everything else: there may be thousands of them. `toText` gives an item's JSON, or undefined
 * for one that is left out.
 */
export async function jsonList<T>(items: Iterable<T>, toText: (item: T) => string | undefined | Promise<string>): Promise<string> {
  const pause = createPause();
  const texts: string[] = [];
  for (const item of items) {
    const made = toText(item);
    const text = made instanceof Promise ? await made : made;
    if (text !== undefined) texts.push(text);
    const waiting = pause();
    if (waiting !== undefined) await waiting;
  }
  return `[${texts.join(",")}]`;
}
