import { expect, test } from "bun:test";
import { kindOf } from "./errors.ts";
import { KeyedMutex } from "./mutex.ts";

test("who is cancelled while waiting leaves the others' order as it is", async () => {
  const mutex = new KeyedMutex();
  const first = await mutex.lock("a");
  const controller = new AbortController();
  const gone = mutex.lock("a", controller.signal).catch(kindOf);
  let entered = false;
  const third = mutex.lock("a", new AbortController().signal).then((lock) => ((entered = true), lock));
  controller.abort();
  expect(await gone).toBe("cancelled");
  expect(entered).toBe(false);
  first[Symbol.dispose]();
  (await third)[Symbol.dispose]();
  expect(await mutex.lock("a", AbortSignal.abort()).catch(kindOf)).toBe("cancelled");
  (await mutex.lock("a"))[Symbol.dispose]();
});
