import { describe, expect, test } from "bun:test";
import { DetachScanner, parseDetachKeys } from "./detach-keys.ts";
import { contentType, frame } from "./frames.ts";

describe("frames", () => {
  test("stream, three zeros, length, payload", () => {
    expect([...frame("stdout", Buffer.from("hi"))]).toEqual([1, 0, 0, 0, 0, 0, 0, 2, 104, 105]);
    expect([...frame("stderr", Buffer.alloc(0))]).toEqual([2, 0, 0, 0, 0, 0, 0, 0]);
    expect(frame("systemerr", Buffer.alloc(70_000)).readUInt32BE(4)).toBe(70_000);
  });

  test("the content type says so since 1.42", () => {
    expect(contentType(false, 42)).toBe("application/vnd.docker.multiplexed-stream");
    expect(contentType(false, 41)).toBe("application/vnd.docker.raw-stream");
    expect(contentType(true, 55)).toBe("application/vnd.docker.raw-stream");
  });
});

describe("detach keys", () => {
  test("parsing", () => {
    expect([...parseDetachKeys("")]).toEqual([16, 17]);
    expect([...parseDetachKeys("ctrl-a,d")]).toEqual([1, 100]);
    expect([...parseDetachKeys("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_,DEL")]).toEqual([0, 27, 28, 29, 30, 31, 127]);
    for (const bad of ["ctrl-", "ctrl-1", "ab", "a,,b", "ä"]) expect(() => parseDetachKeys(bad)).toThrow(`Invalid detach keys (${bad}) provided`);
  });

  const scan = (keys: string, ...inputs: string[]): { passed: string; detached: boolean } => {
    const scanner = new DetachScanner(parseDetachKeys(keys));
    let passed = "";
    for (const input of inputs) {
      const { pass, detached } = scanner.push(Buffer.from(input, "latin1"));
      passed += Buffer.from(pass).toString("latin1");
      if (detached) return { passed, detached };
    }
    return { passed, detached: false };
  };

  test("found in one piece, in two, and between other input", () => {
    expect(scan("", "\x10\x11")).toEqual({ passed: "", detached: true });
    expect(scan("", "\x10", "\x11")).toEqual({ passed: "", detached: true });
    expect(scan("", "ab\x10\x11cd")).toEqual({ passed: "ab", detached: true });
  });

  test("a started sequence is held back, and given up where it breaks", () => {
    expect(scan("", "a\x10")).toEqual({ passed: "a", detached: false });
    expect(scan("", "a\x10", "b")).toEqual({ passed: "a\x10b", detached: false });
    expect(scan("", "\x10\x10", "\x11")).toEqual({ passed: "\x10", detached: true });
  });

  test("a single key, and one that repeats", () => {
    expect(scan("q", "abq")).toEqual({ passed: "ab", detached: true });
    expect(scan("a,a,b", "aaab")).toEqual({ passed: "a", detached: true });
  });
});
