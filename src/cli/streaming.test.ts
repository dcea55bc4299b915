import { describe, expect, test } from "bun:test";
import type { HijackedConnection } from "../client/hijack.ts";
import { captured } from "../../test/terminal.ts";
import { DetachKeys, forwardSignals, requireTerminal, runSession } from "./streaming.ts";

const text = (result: Uint8Array | "detach"): string => (result === "detach" ? "detach" : Buffer.from(result).toString("latin1"));

describe("detach keys", () => {
  const type = (keys: string, ...chunks: string[]): string[] => {
    const detector = new DetachKeys(keys);
    return chunks.map((chunk) => text(detector.feed(Buffer.from(chunk, "latin1"))));
  };
  test("are found within and across what is typed", () => {
    expect(type("ctrl-p,ctrl-q", "ls\x10\x11")).toEqual(["detach"]);
    expect(type("ctrl-p,ctrl-q", "ls\x10", "\x11")).toEqual(["ls", "detach"]);
    expect(type("ctrl-@", "\0")).toEqual(["detach"]);
    expect(type("a,b", "xab")).toEqual(["detach"]);
  });
  test("that don't finish go through", () => {
    expect(type("ctrl-p,ctrl-q", "\x10x", "\x10", "\x10\x11")).toEqual(["\x10x", "", "detach"]);
    expect(type("a,b,c", "abx", "aab")).toEqual(["abx", "a"]);
  });
  test("must be keys", () => expect(() => new DetachKeys("ctrl-pp")).toThrow("invalid detach keys 'ctrl-pp'"));
});

/** A connection that answers what it is told to, in memory. */
function connection(chunks: Uint8Array[], options: { endsAfterInput?: boolean } = {}) {
  const written: string[] = [];
  const inputEnded = Promise.withResolvers<void>();
  const made: HijackedConnection = {
    contentType: "",
    output: (async function* () {
      yield* chunks;
      if (options.endsAfterInput === true) await inputEnded.promise;
    })(),
    write: async (bytes) => void written.push(Buffer.from(bytes).toString()),
    closeWrite: () => inputEnded.resolve(),
    [Symbol.dispose]: () => {},
  };
  return { made, written };
}

const frame = (stream: number, payload: string): Uint8Array => Buffer.concat([Buffer.from([stream, 0, 0, 0, 0, 0, 0, payload.length]), Buffer.from(payload)]);

test("a session without a terminal splits the streams and sends the end of input", async () => {
  const { made, written } = connection([frame(1, "out"), frame(2, "err")], { endsAfterInput: true });
  const io = captured({ stdin: "typed" });
  expect(await runSession(made, io, { tty: false, stdin: true, stdout: true, stderr: true })).toBe("closed");
  expect([io.stdout(), io.stderr(), written.join("")]).toEqual(["out", "err", "typed"]);
});

test("a session shows only the streams asked for", async () => {
  const io = captured();
  await runSession(connection([frame(1, "out"), frame(2, "err")]).made, io, { tty: false, stdin: false, stdout: false, stderr: true });
  expect([io.stdout(), io.stderr()]).toEqual(["", "err"]);
});

test("a session with a terminal is raw, ends with the detach keys, and the terminal is as before", async () => {
  const { made, written } = connection([Buffer.from("prompt$ ")], { endsAfterInput: true });
  const io = captured({ stdin: "ls\n\x10\x11", columns: 80 });
  const raw: boolean[] = [];
  io.stdin.setRaw = (on) => void raw.push(on);
  expect(await runSession(made, io, { tty: true, stdin: true, stdout: true, stderr: true })).toBe("detached");
  expect(raw).toEqual([true, false]);
  expect(written).toEqual([]);
});

test("a session that fails leaves the terminal as it was", async () => {
  const io = captured({ columns: 80, stdin: "" });
  const raw: boolean[] = [];
  io.stdin.setRaw = (on) => void raw.push(on);
  const failing: AsyncIterable<Uint8Array> = { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(new Error("gone")) }) };
  const broken: HijackedConnection = { ...connection([]).made, output: failing };
  await expect(runSession(broken, io, { tty: true, stdin: true, stdout: true, stderr: true })).rejects.toThrow("gone");
  expect(raw).toEqual([true, false]);
});

test("signals wait for the container and are forwarded by name", async () => {
  const ready = Promise.withResolvers<void>();
  const sent: string[] = [];
  const forwarded = Promise.withResolvers<void>();
  {
    using _signals = forwardSignals(ready.promise, async (signal) => {
      sent.push(signal);
      forwarded.resolve();
    });
    process.kill(process.pid, "SIGUSR2");
    await Bun.sleep(20);
    expect(sent).toEqual([]);
    ready.resolve();
    await forwarded.promise;
  }
  expect(sent).toEqual(["SIGUSR2"]);
  expect(process.listenerCount("SIGUSR2")).toBe(0);
});

test("a terminal is asked for only with -it", () => {
  expect(() => requireTerminal(captured(), { tty: true, stdin: true })).toThrow("the input device is not a TTY");
  requireTerminal(captured(), { tty: true, stdin: false });
  requireTerminal(captured({ columns: 80 }), { tty: true, stdin: true });
});
