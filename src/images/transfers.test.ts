import { expect, test } from "bun:test";
import { kindOf } from "../lib/errors.ts";
import { digestOf } from "../oci/digest.ts";
import { createTransfers } from "./transfers.ts";

const quiet = { status: () => {}, bytes: () => {} };
const digest = digestOf("x");

test("two who want the same get one transfer", async () => {
  const transfers = createTransfers();
  const { promise, resolve } = Promise.withResolvers<void>();
  let runs = 0;
  const work = async (): Promise<void> => {
    runs++;
    await promise;
  };
  const both = [transfers.join(digest, quiet, undefined, work), transfers.join(digest, quiet, undefined, work)];
  resolve();
  await Promise.all(both);
  expect(runs).toBe(1);
  await transfers.join(digest, quiet, undefined, work);
  expect(runs).toBe(2);
});

test("a transfer stops once the last has left, and not before", async () => {
  const transfers = createTransfers();
  let stopped = false;
  const work = async (_all: unknown, signal: AbortSignal): Promise<void> => {
    await new Promise<void>((_resolve, reject) => signal.addEventListener("abort", () => reject(new Error("stopped"))));
  };
  const wrapped = async (all: unknown, signal: AbortSignal): Promise<void> => await work(all, signal).finally(() => (stopped = true));
  const [a, b] = [new AbortController(), new AbortController()];
  const first = transfers.join(digest, quiet, a.signal, wrapped).catch(kindOf);
  const second = transfers.join(digest, quiet, b.signal, wrapped).catch(kindOf);
  a.abort();
  expect(await first).toBe("cancelled");
  expect(stopped).toBe(false);
  b.abort();
  expect(await second).toBe("cancelled");
  expect(stopped).toBe(true);
});
