import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { gunzipSync, gzipSync } from "node:zlib";
import { join } from "node:path";
import { silent } from "../lib/log.ts";
import { createLogs } from "./logs.ts";
import { recordsOf } from "./cri.ts";
import { compressFile } from "./compress.ts";
import type { LogBatch, ReadLogsOptions } from "./types.ts";

let root: string;
let path: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "berth-logs-"));
  path = join(root, "container.log");
});
afterEach(() => rmSync(root, { recursive: true }));

const base = 1_700_000_000n;
const line = (index: number, stream = "stdout", tag = "F", text = `line ${index}`): string =>
  `${new Date(Number(base) * 1000 + index * 1000).toISOString().replace("Z", "000000+00:00")} ${stream} ${tag} ${text}\n`;
const both: ReadLogsOptions = { stdout: true, stderr: true, follow: false };

const textOf = (batch: LogBatch): string => [...recordsOf(batch)].map(({ bytes }) => bytes.toString()).join("");
async function collect(records: AsyncIterable<LogBatch>): Promise<string> {
  let out = "";
  for await (const batch of records) out += textOf(batch);
  return out;
}
/** What this process has open below the test's folder. */
const held = (): string[] =>
  readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith(`${root}/`) ? [target] : [];
    } catch {
      return []; // the directory's own descriptor is closed by now
    }
  });
async function compress(number: number): Promise<void> {
  for await (const _ of compressFile(`${path}.${number}`, readFileSync(`${path}.${number}`).length));
}
const read = (options: Partial<ReadLogsOptions> = {}, ended: Promise<unknown> = Promise.resolve()): Promise<string> =>
  collect(createLogs({ log: silent }).read(path, { ...both, ...options }, ended));

describe("read", () => {
  test("no log yet", async () => {
    expect(await read()).toBe("");
    expect(await read({ follow: true })).toBe("");
    expect(await read({ tail: 5 })).toBe("");
  });

  test("streams, since, until", async () => {
    writeFileSync(path, line(0) + line(1, "stderr") + line(2) + line(3));
    expect(await read({ stderr: false })).toBe("line 0\nline 2\nline 3\n");
    expect(await read({ since: (base + 1n) * 1_000_000_000n, until: (base + 2n) * 1_000_000_000n })).toBe("line 1\nline 2\n");
  });

  test("tail counts lines of the streams asked for, over rotated files", async () => {
    writeFileSync(`${path}.1`, line(0) + line(1));
    writeFileSync(`${path}.2`, line(2) + line(3, "stderr"));
    await compress(1);
    writeFileSync(path, line(4) + line(5, "stderr") + line(6, "stderr"));
    expect(await read({ tail: 0 })).toBe("");
    expect(await read({ tail: 1 })).toBe("line 6\n");
    expect(await read({ tail: 2, stderr: false })).toBe("line 2\nline 4\n");
    expect(await read({ tail: 4, stderr: false })).toBe("line 0\nline 1\nline 2\nline 4\n");
    expect(await read({ tail: 100 })).toBe([0, 1, 2, 3, 4, 5, 6].map((i) => `line ${i}\n`).join(""));
  });

  test.each([undefined, 10])("a follower holds no file that was rotated away (tail %p)", async (tail) => {
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    if (tail !== undefined) writeFileSync(path, "");
    const reader = createLogs({ log: silent }).read(path, { ...both, follow: true, ...(tail === undefined ? {} : { tail }) }, ended);
    const follower = reader[Symbol.asyncIterator]();
    for (let i = 0; i < 4; i++) {
      if (i > 0) renameSync(path, `${path}.${i}`);
      writeFileSync(path, line(i));
      const { value } = await follower.next();
      expect([...recordsOf(value as LogBatch)][0]?.bytes.toString()).toBe(`line ${i}\n`);
      expect(held()).toEqual([path]);
    }
    end();
    expect((await follower.next()).done).toBe(true);
    expect(held()).toEqual([]);
  });

  test("what can't be read leaves no file open", async () => {
    mkdirSync(path);
    await expect(read({ tail: 1 })).rejects.toThrow("EISDIR");
    expect(held()).toEqual([]);
  });

  test("tail takes the pieces of a long line together", async () => {
    writeFileSync(
      path,
      line(0) +
        line(1, "stdout", "P", "a".repeat(8192)) +
        line(1, "stdout", "P", "b".repeat(8192)) +
        line(1, "stdout", "F", "c") +
        line(2, "stdout", "P", "end"),
    );
    expect(await read({ tail: 1 })).toBe("end");
    expect(await read({ tail: 2 })).toBe(`${"a".repeat(8192)}${"b".repeat(8192)}c\nend`);
  });

  test("the last line of a run ends with it, newline or none", async () => {
    const logs = createLogs({ log: silent });
    logs.endLine(path);
    writeFileSync(path, "");
    logs.endLine(path);
    expect(readFileSync(path, "utf8")).toBe("");
    writeFileSync(path, line(0) + line(1, "stderr", "P", "half"));
    logs.endLine(path);
    logs.endLine(path);
    appendFileSync(path, line(2, "stderr", "F", "next") + line(3));
    const records: string[] = [];
    for await (const batch of logs.read(path, both, Promise.resolve())) for (const { bytes } of recordsOf(batch)) records.push(bytes.toString());
    expect(records).toEqual(["line 0\n", "half", "next\n", "line 3\n"]);
    expect(await read({ tail: 2 })).toBe("next\nline 3\n");
    expect(await read({ tail: 3 })).toBe("halfnext\nline 3\n");
    // Cut off by a full disk.
    appendFileSync(path, line(4).slice(0, 50));
    logs.endLine(path);
    appendFileSync(path, line(5));
    expect(await read({ tail: 1 })).toBe("line 5\n");
  });

  test("tail of a big log finds lines that lie across its chunks", async () => {
    let log = "";
    for (let i = 0; i < 3000; i++) log += line(i, "stdout", "F", `line ${i} ${"x".repeat(i % 97)}`);
    writeFileSync(path, log);
    const all = (await read()).split("\n").slice(0, -1);
    for (const count of [1, 2, 700, 1500, 2999, 3000]) expect((await read({ tail: count })).split("\n").slice(0, -1)).toEqual(all.slice(-count));
  });
});

describe("follow", () => {
  test("gives what is written until the end, and ends", async () => {
    writeFileSync(path, line(0));
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    const seen: string[] = [];
    const done = (async () => {
      for await (const batch of createLogs({ log: silent }).read(path, { ...both, follow: true }, ended)) {
        for (const { bytes } of recordsOf(batch)) seen.push(Buffer.from(bytes).toString());
        if (seen.length === 1) appendFileSync(path, line(1));
        if (seen.length === 2) {
          appendFileSync(path, line(2));
          end();
        }
      }
    })();
    await done;
    expect(seen).toEqual(["line 0\n", "line 1\n", "line 2\n"]);
  });

  test("waits for a log that isn't there yet", async () => {
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    const result = read({ follow: true }, ended);
    await Bun.sleep(20);
    writeFileSync(path, line(7));
    end();
    expect(await result).toBe("line 7\n");
  });

  test("across rotations nothing is lost or doubled", async () => {
    writeFileSync(path, "");
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    const result = read({ follow: true }, ended);
    let expected = "";
    let current = path;
    for (let i = 0; i < 200; i++) {
      // As conmon does: it goes on writing into the renamed file until it is told.
      if (i % 20 === 7) {
        current = `${path}.${(i - 7) / 20 + 1}`;
        renameSync(path, current);
      }
      // Those before are compressed meanwhile.
      if (i % 20 === 15 && i > 20) await compress((i - 15) / 20);
      if (i % 20 === 11) {
        current = path;
        writeFileSync(path, "");
      }
      appendFileSync(current, line(i));
      expected += `line ${i}\n`;
      if (i % 5 === 0) await Bun.sleep(1);
    }
    end();
    expect(await result).toBe(expected);
  });

  test.each([
    ["removed", () => rmSync(path)],
    ["moved away", () => renameSync(path, join(root, "mine"))],
    ["removed with all before it", () => readdirSync(root).forEach((name) => void rmSync(join(root, name)))],
  ])("goes on with what conmon makes where the log was %s by hand", async (_, remove) => {
    writeFileSync(`${path}.1`, line(0));
    writeFileSync(`${path}.2`, line(1));
    writeFileSync(path, line(2));
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    const follower = createLogs({ log: silent })
      .read(path, { ...both, follow: true, tail: 1 }, ended)
      [Symbol.asyncIterator]();
    expect(textOf((await follower.next()).value)).toBe("line 2\n");
    remove();
    writeFileSync(path, line(3) + line(4));
    end();
    expect(textOf((await follower.next()).value)).toBe("line 3\nline 4\n");
    expect((await follower.next()).done).toBe(true);
    expect(held()).toEqual([]);
  });

  test("begins again with a log that was emptied by hand", async () => {
    writeFileSync(path, line(0) + line(1));
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    const follower = createLogs({ log: silent })
      .read(path, { ...both, follow: true }, ended)
      [Symbol.asyncIterator]();
    expect(textOf((await follower.next()).value)).toBe("line 0\nline 1\n");
    truncateSync(path);
    appendFileSync(path, line(2));
    end();
    expect(textOf((await follower.next()).value)).toBe("line 2\n");
    expect((await follower.next()).done).toBe(true);
  });

  test("a client that leaves ends it", async () => {
    writeFileSync(path, line(0));
    const leave = new AbortController();
    const records = createLogs({ log: silent })
      .read(path, { ...both, follow: true, signal: leave.signal }, new Promise(() => {}))
      [Symbol.asyncIterator]();
    expect((await records.next()).value.count).toBe(1);
    const next = records.next();
    await Bun.sleep(10);
    leave.abort();
    expect((await next).done).toBe(true);
  });

  test("until in the past ends it, though the container runs", async () => {
    writeFileSync(path, line(0) + line(5));
    expect(await read({ follow: true, until: (base + 2n) * 1_000_000_000n }, new Promise(() => {}))).toBe("line 0\n");
  });
});

describe("places in a log are found without reading it all", () => {
  const count = 8000;
  const log = (from: number, to: number): string => {
    let out = "";
    for (let i = from; i < to; i++) out += line(i, "stdout", "F", `line ${i} ${"x".repeat(i % 97)}`);
    return out;
  };
  const firstOf = (text: string): string => text.slice(0, text.indexOf("\n")).split(" ")[1] ?? "";
  const since = (index: number): bigint => (base + BigInt(index)) * 1_000_000_000n;

  test.each(["one file", "many files", "many files, compressed"])("%s", async (kind) => {
    const cuts = kind === "one file" ? [0, count] : [0, 3, 2000, 2001, 5000, 7999, count];
    for (let i = 1; i < cuts.length; i++) {
      const isLast = i === cuts.length - 1;
      writeFileSync(isLast ? path : `${path}.${i}`, log(cuts[i - 1] as number, cuts[i] as number));
      if (!isLast && kind.endsWith("compressed")) await compress(i);
    }
    for (const index of [0, 1, 2, 3, 1999, 2000, 2001, 4000, 5000, 6666, 7998, 7999]) {
      const found = await read({ since: since(index) });
      expect(firstOf(found)).toBe(String(index));
      expect(found.split("\n").length - 1).toBe(count - index);
      const tail = await read({ tail: count - index });
      expect(firstOf(tail)).toBe(String(index));
      expect(tail.split("\n").length - 1).toBe(count - index);
    }
    expect(await read({ since: since(count) })).toBe("");
    expect((await read({ since: since(4000), until: since(4001) })).split("\n").length - 1).toBe(2);
  });
});

describe("compressed files", () => {
  test("are gzip for everybody, and without what is no log of ours", async () => {
    writeFileSync(`${path}.1`, log20k());
    writeFileSync(path, line(20_000));
    const all = await read();
    await compress(1);
    expect(existsSync(`${path}.1`)).toBe(false);
    expect(existsSync(`${path}.1.gz.tmp`)).toBe(false);
    expect(gunzipSync(readFileSync(`${path}.1.gz`)).toString()).toBe(log20k());
    const size = readFileSync(`${path}.1.gz`).length;
    expect(size).toBeLessThan(log20k().length / 4);
    expect(await read()).toBe(all);
    writeFileSync(`${path}.1.gz`, gzipSync(line(0)));
    expect(await read()).toBe("line 20000\n");
  });

  const log20k = (): string => Array.from({ length: 20_000 }, (_, i) => line(i)).join("");

  test("one whose compression was broken off stays plain", async () => {
    writeFileSync(`${path}.1`, log20k());
    writeFileSync(path, line(20_000));
    for await (const _ of compressFile(`${path}.1`, 1)) break;
    expect(readdirSync(root).sort()).toEqual(["container.log", "container.log.1"]);
    expect((await read()).split("\n").length - 1).toBe(20_001);
  });

  test("a client that takes nothing for a while holds no file, and goes on with what there is", async () => {
    writeFileSync(`${path}.1`, log20k());
    writeFileSync(path, line(20_000));
    const records = createLogs({ log: silent })
      .read(path, { ...both, follow: true }, Promise.resolve())
      [Symbol.asyncIterator]();
    const first = await records.next();
    await Bun.sleep(1100);
    expect(held()).toEqual([]);
    await compress(1);
    let text = await collectRest(first.value as LogBatch, records);
    expect(text.split("\n").length - 1).toBe(20_001);
    writeFileSync(`${path}.2`, line(5));
    const again = createLogs({ log: silent })
      .read(path, { ...both, follow: true }, Promise.resolve())
      [Symbol.asyncIterator]();
    const begun = await again.next();
    await Bun.sleep(1100);
    rmSync(`${path}.1.gz`);
    text = await collectRest(begun.value as LogBatch, again);
    expect(text).toEndWith("line 5\nline 20000\n");
  });

  const collectRest = async (first: LogBatch, records: AsyncIterator<LogBatch>): Promise<string> => {
    let out = textOf(first);
    for (let next = await records.next(); next.done !== true; next = await records.next()) out += textOf(next.value);
    return out;
  };
});
