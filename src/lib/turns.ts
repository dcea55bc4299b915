/** Waits for a turn of one's own; at once where nobody else had one in this round of the event loop. */
export type Turns = () => Promise<void>;

/**
 * Gives out turns, one a round of the event loop, in order of asking: hundreds of jobs that become ready together (all containers of a host end
 * at once) then run one after another with everything else in between, and stop it for as long as one takes. `atOnce` in a round where they are short:
 * on a busy host a round takes a while.
 */
export function createTurns(atOnce = 1): Turns {
  const waiting: (() => void)[] = [];
  let isFree = true;
  const next = (): void => {
    if (waiting.length === 0) {
      isFree = true;
      return;
    }
    for (const take of waiting.splice(0, atOnce)) take();
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

/**
 * For long work that is made of small steps: awaited between them, it lets everything else go on whenever the work has held up its thread for `piece`
 * milliseconds. After that `check` may throw, where the work is cancelled.
 */
export function createPause({ piece = 2, check = () => {} }: { piece?: number; check?: () => void } = {}): Pause {
  let since = performance.now();
  const resume = (): void => {
    check();
    since = performance.now();
  };
  return () => (performance.now() - since < piece ? undefined : nextTurn().then(resume));
}

/** The next round of the event loop. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

/** Of Workers, where only messages wait (cancellations, other jobs): milliseconds between two rounds of the event loop. */
export const WORKER_PIECE = 10;
