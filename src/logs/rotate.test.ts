import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { closeSync, constants, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, readSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Progress, progressPath } from "./progress.ts";
import { dropOld, mend, nextLook, rotate } from "./rotate.ts";

const maxSize = 10_000_000;

describe("the next look", () => {
  test("at a flood comes before it is far over its limit", () => {
    const perMs = 250_000;
    const look = (size: number): number => nextLook({ size, grown: 4 * perMs, elapsed: 4, maxSize });
    expect(look(0)).toBe(20);
    expect(look(9_500_000)).toBe(4);
    expect(look(11_000_000)).toBe(4);
  });

  test("at one that grows slowly, or not at all", () => {
    expect(nextLook({ size: 0, grown: 1, elapsed: 100, maxSize })).toBe(40);
    expect(nextLook({ size: 0, grown: 0, elapsed: 100, maxSize })).toBe(8000);
    expect(nextLook({ size: 0, grown: -5, elapsed: 8000, maxSize })).toBe(8000);
    expect(nextLook({ size: 5, grown: 5, elapsed: 1, maxSize: Infinity })).toBe(40);
  });
});

describe("rotation", () => {
  let root: string;
  let path: string;
  let ctl: string;
  /** conmon's end of its fifo. */
  let fifo: number | undefined;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "berth-rotate-"));
    path = join(root, "container.log");
    ctl = join(root, "ctl");
    Bun.spawnSync(["mkfifo", ctl]);
    fifo = openSync(ctl, constants.O_RDWR | constants.O_NONBLOCK);
  });
  afterEach(() => {
    if (fifo !== undefined) closeSync(fifo);
    rmSync(root, { recursive: true });
  });
  const told = (): string => {
    const buffer = Buffer.alloc(100);
    return buffer.toString("latin1", 0, readSync(fifo as number, buffer, 0, 100, null));
  };
  const logs = (): string[] =>
    readdirSync(root)
      .filter((name) => name.startsWith("container.log"))
      .sort();

  test("counts on, tells the monitor once, and has its file made for it", () => {
    for (let i = 1; i <= 6; i++) {
      writeFileSync(path, `${i}`);
      expect(rotate(path, ctl)).toBe(true);
      expect(told()).toBe("2 0 0\n");
      expect(existsSync(path)).toBe(false);
      expect(existsSync(`${path}.tmp`)).toBe(true);
      expect(readFileSync(`${path}.${i}`, "utf8")).toBe(`${i}`);
      dropOld(path, { maxSize: 100, maxFiles: 3 });
    }
    expect(logs()).toEqual(["container.log.5", "container.log.6", "container.log.tmp"]);
  });

  test("does nothing where the monitor is gone", () => {
    closeSync(fifo as number);
    fifo = undefined;
    writeFileSync(path, "x");
    expect(rotate(path, ctl)).toBe(false);
    expect(logs()).toEqual(["container.log"]);
    expect(rotate(path, join(root, "none"))).toBe(false);
  });

  test("with one file keeps the number alone", () => {
    for (let i = 1; i <= 3; i++) {
      writeFileSync(path, "text");
      rotate(path, ctl);
      writeFileSync(path, "");
      dropOld(path, { maxSize: 4, maxFiles: 1 });
      expect(readFileSync(`${path}.${i}`, "utf8")).toBe("");
    }
    expect(logs()).toEqual(["container.log", "container.log.3", "container.log.tmp"]);
  });

  test("files that are too big together go before they are too many", () => {
    for (let i = 1; i <= 5; i++) writeFileSync(`${path}.${i}`, Buffer.alloc(30));
    writeFileSync(path, Buffer.alloc(30));
    dropOld(path, { maxSize: 10, maxFiles: 10 });
    expect(logs()).toEqual(["container.log", "container.log.4", "container.log.5"]);
  });

  test("what is still to be sent is kept as long as its queue has room", () => {
    for (let i = 1; i <= 5; i++) writeFileSync(`${path}.${i}`, Buffer.alloc(30));
    writeFileSync(path, Buffer.alloc(30));
    using progress = new Progress(progressPath(path));
    progress.write({ from: { segment: 3, offset: 7 }, records: 0 });
    dropOld(path, { maxSize: 10, maxFiles: 1, queue: 200 });
    expect(logs()).toEqual(["container.log", "container.log.3", "container.log.4", "container.log.5", "container.log.sent"]);
    dropOld(path, { maxSize: 10, maxFiles: 3, queue: 100 });
    expect(logs()).toEqual(["container.log", "container.log.4", "container.log.5", "container.log.sent"]);
    progress.write({ from: { segment: 6, offset: 0 }, records: 0 });
    dropOld(path, { maxSize: 10, maxFiles: 3, queue: 100 });
    expect(logs()).toEqual(["container.log", "container.log.5", "container.log.sent"]);
  });

  test("of its two forms a file keeps the compressed one", () => {
    writeFileSync(`${path}.1`, "plain");
    writeFileSync(`${path}.1.gz`, "gz");
    dropOld(path, { maxSize: 100, maxFiles: 5 });
    expect(logs()).toEqual(["container.log.1.gz"]);
  });

  test("a rotation that was cut short is finished, and the monitor is never told twice", () => {
    writeFileSync(`${path}.1`, "x");
    mend(path, ctl);
    mend(path, ctl);
    expect(told()).toBe("2 0 0\n");
    writeFileSync(path, "");
    mend(path, ctl);
    expect(() => told()).toThrow("EAGAIN");
  });
});
