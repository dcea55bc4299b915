/**
 * One step of a pattern: a character that passes, any number of such, or a leap over the next `skip` steps, which may be left out.
 * Patterns come from Dockerfiles and .dockerignore files of strangers. Regular expressions go back and forth: a dozen stars keep one busy for ever.
 */
export type Step = { one: (char: string) => boolean } | { many: (char: string) => boolean } | { skip: number };

/** All ends of matches that begin at `from`, ascending. As many operations as `chars` times `steps` at most. */
export function matchEnds(steps: readonly Step[], chars: readonly string[], from = 0): number[] {
  return [...endsOf(steps, chars, from)];
}

/** Where a match that begins at `from` ends; undefined where there is none. */
export function matchEnd(steps: readonly Step[], chars: readonly string[], options: { from?: number; prefer: "shortest" | "longest" }): number | undefined {
  let last: number | undefined;
  for (const end of endsOf(steps, chars, options.from ?? 0)) {
    last = end;
    if (options.prefer === "shortest") break;
  }
  return last;
}

/** All ways are tried at once. */
function* endsOf(steps: readonly Step[], chars: readonly string[], from: number): Generator<number> {
  let states = follow(steps, [0]);
  if (states.has(steps.length)) yield from;
  for (let at = from; at < chars.length && states.size > 0; at++) {
    states = follow(steps, advance(steps, states, chars[at] as string));
    if (states.has(steps.length)) yield at + 1;
  }
}

/** States after one more character. */
function* advance(steps: readonly Step[], states: ReadonlySet<number>, char: string): Generator<number> {
  for (const state of states) {
    const step = steps[state];
    if (step === undefined || "skip" in step) continue;
    if ("one" in step && step.one(char)) yield state + 1;
    if ("many" in step && step.many(char)) yield state;
  }
}

/** These states, and those that are reached from them without a character. */
function follow(steps: readonly Step[], states: Iterable<number>): Set<number> {
  const reached = new Set(states);
  // a set hands out what is added while it is walked
  for (const state of reached) {
    const step = steps[state];
    if (step === undefined || "one" in step) continue;
    reached.add(state + 1);
    if ("skip" in step) reached.add(state + 1 + step.skip);
  }
  return reached;
}

/** Whether the whole of `text` matches. */
export function matchesWhole(steps: readonly Step[], text: string): boolean {
  const chars = [...text];
  return matchEnd(steps, chars, { prefer: "longest" }) === chars.length;
}
