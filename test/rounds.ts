/** Rounds of the event loop since it was made: how often others could have had their turn. Holds the loop awake until disposed. */
export function countRounds(): { readonly count: number } & Disposable {
  let count = 0;
  const turn = (): void => {
    count++;
    next = setImmediate(turn);
  };
  let next = setImmediate(turn);
  return {
    get count() {
      return count;
    },
    [Symbol.dispose]: () => clearImmediate(next),
  };
}
