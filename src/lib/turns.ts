/** Waits for a turn of one's own; at once where nobody else had one in this round of the event loop. */
export type Turns = () => Promise<void>;

/**
 * Gives out turns, one a round of the event loop, in order of asking: hundreds of jobs that become ready together (all containers of a host end
 * at once) then run one after another with everything else in between, and stop it for as long as one takes.
 */
export function createTurns(): Turns {
  const waiting: (() => void)[] = [];
  let isFree = true;
  const next = (): void => {
    const take = waiting.shift();
    if (take === undefined) {
      isFree = true;
      return;
    }
    take();
    setImmediate(next);
  };
  return () => {
    if (!isFree) return new Promise((resolve) => void waiting.push(resolve));
    isFree = false;
    setImmediate(next);
    return Promise.resolve();
  };
}

/** Waits where others are due; where they aren't, nothing is waited for. */
export type Pause = () => Promise<void> | undefined;

/** Milliseconds of work between two rounds of the event loop. */
const piece = 2;

/** For long work that is made of small steps: awaited between them, it lets everything else go on whenever the work has held up the event loop for a while. */
export function createPause(): Pause {
  let since = performance.now();
  const resume = (): void => {
    since = performance.now();
  };
  return () => (performance.now() - since < piece ? undefined : nextTurn().then(resume));
}

/** The next round of the event loop. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

/** Gives way to others if it is time to; throws where the work is cancelled. */
export type Breathe = () => Promise<void> | undefined;

/** For long work: everything else gets a round of the event loop once 10 ms have gone by since the last; then `check` throws where it is cancelled. */
export function createBreathe(check: () => void): Breathe {
  let start = performance.now();
  return () => {
    if (performance.now() - start < 10) return undefined;
    return nextTurn().then(() => {
      check();
      start = performance.now();
    });
  };
}
