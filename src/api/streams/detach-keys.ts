import { invalidArgument } from "../../lib/errors.ts";

/** ctrl-p, ctrl-q. */
const defaultKeys = Uint8Array.of(16, 17);

/** `ctrl-a,b` as bytes; "" is the default. @throws EngineError invalidArgument */
export function parseDetachKeys(text: string): Uint8Array {
  if (text === "") return defaultKeys;
  const keys: number[] = [];
  for (const key of text.split(",")) {
    const control = /^ctrl-([a-z@[\\\]^_])$/.exec(key);
    if (control) keys.push(control[1]!.toUpperCase().charCodeAt(0) - 64);
    else if (key === "DEL") keys.push(127);
    else if (key.length === 1 && key.charCodeAt(0) < 128) keys.push(key.charCodeAt(0));
    else throw invalidArgument(`Invalid detach keys (${text}) provided`);
  }
  return Uint8Array.from(keys);
}

/** Looks for the detach keys in a terminal's input. Bytes that may belong to them are held back until that is known. */
export class DetachScanner {
  readonly #keys: Uint8Array;
  #matched = 0;

  constructor(keys: Uint8Array) {
    this.#keys = keys;
  }

  /** What is to go on to the container, and whether the keys were complete. */
  push(input: Uint8Array): { pass: Uint8Array; detached: boolean } {
    // the common case without a copy
    if (this.#matched === 0 && !input.includes(this.#keys[0]!)) return { pass: input, detached: false };
    const pass: number[] = [];
    for (const byte of input) {
      if (byte === this.#keys[this.#matched]) {
        if (++this.#matched === this.#keys.length) return { pass: Uint8Array.from(pass), detached: true };
        continue;
      }
      // what was held back is ordinary input, but for an end of it that may start the sequence anew
      const held = [...this.#keys.subarray(0, this.#matched), byte];
      this.#matched = 0;
      while (held.length > 0 && !held.every((each, at) => each === this.#keys[at])) pass.push(held.shift()!);
      this.#matched = held.length;
    }
    return { pass: Uint8Array.from(pass), detached: false };
  }
}
