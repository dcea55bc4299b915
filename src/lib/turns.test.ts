import { expect, test } from "bun:test";
import { countRounds } from "../../test/rounds.ts";
import { createPause, createTurns } from "./turns.ts";

test("one a round of the event loop, in order; the first at once", async () => {
  const turns = createTurns();
  let round = 0;
  const count = (): void => {
    round++;
    if (!isOver) setImmediate(count);
  };
  let isOver = false;
  setImmediate(count);
  const rounds: number[] = [];
  await Promise.all(
    Array.from({ length: 5 }, async () => {
      await turns();
      rounds.push(round);
    }),
  );
  isOver = true;
  expect(rounds[0]).toBe(0);
  expect(new Set(rounds).size).toBe(5);
  expect(rounds).toEqual([...rounds].sort((a, b) => a - b));
});

test("several short ones a round", async () => {
  const turns = createTurns(3);
  using rounds = countRounds();
  const taken = await Promise.all(Array.from({ length: 10 }, () => turns().then(() => rounds.count)));
  // the first at once
  expect([...Map.groupBy(taken, (round) => round).values()].map(({ length }) => length)).toEqual([1, 3, 3, 3]);
});

test("timers and input come between two turns", async () => {
  const turns = createTurns();
  let fired = false;
  setTimeout(() => (fired = true), 0);
  const seen: boolean[] = [];
  await Promise.all(
    Array.from({ length: 20 }, async () => {
      await turns();
      Bun.sleepSync(1);
      seen.push(fired);
    }),
  );
  expect(seen[0]).toBe(false);
  expect(seen.at(-1)).toBe(true);
});

test("long work in small steps: others have their turn now and then", async () => {
  const pause = createPause();
  let fired = false;
  setTimeout(() => (fired = true), 0);
  for (let step = 0; step < 20; step++) {
    await pause();
    Bun.sleepSync(1);
  }
  expect(fired).toBe(true);
});
