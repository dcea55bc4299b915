import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silent } from "../lib/log.ts";
import { createLogs } from "./logs.ts";
import { rotateOnce } from "./rotate.ts";
import type { LogRecord, ReadLogsOptions } from "./types.ts";

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

async function collect(records: AsyncIterable<LogRecord[]>): Promise<string> {
  let out = "";
  for await (const batch of records) for (const { bytes } of batch) out += Buffer.from(bytes).toString();
  return out;
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
    writeFileSync(`${path}.2`, line(0) + line(1));
    writeFileSync(`${path}.1`, line(2) + line(3, "stderr"));
    writeFileSync(path, line(4) + line(5, "stderr") + line(6, "stderr"));
    expect(await read({ tail: 0 })).toBe("");
    expect(await read({ tail: 1 })).toBe("line 6\n");
    expect(await read({ tail: 2, stderr: false })).toBe("line 2\nline 4\n");
    expect(await read({ tail: 4, stderr: false })).toBe("line 0\nline 1\nline 2\nline 4\n");
    expect(await read({ tail: 100 })).toBe([0, 1, 2, 3, 4, 5, 6].map((i) => `line ${i}\n`).join(""));
  });

  test("a follower holds no file that was rotated away", async () => {
    const held = (): string[] =>
      readdirSync("/proc/self/fd").flatMap((fd) => {
        try {
          const target = readlinkSync(`/proc/self/fd/${fd}`, "utf8");
          return target.startsWith(`${root}/`) ? [target] : [];
        } catch {
          return []; // the directory's own descriptor is closed by now
        }
      });
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    const reader = createLogs({ log: silent }).read(path, { ...both, follow: true }, ended);
    const follower = reader[Symbol.asyncIterator]();
    for (let i = 0; i < 4; i++) {
      if (i > 0) renameSync(path, `${path}.1`);
      writeFileSync(path, line(i));
      const { value } = await follower.next();
      expect(Buffer.from(value![0]!.bytes).toString()).toBe(`line ${i}\n`);
      expect(held()).toEqual([path]);
    }
    end();
    expect((await follower.next()).done).toBe(true);
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
        for (const { bytes } of batch) seen.push(Buffer.from(bytes).toString());
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
        for (let number = 8; number >= 1; number--) if (existsSync(`${path}.${number}`)) renameSync(`${path}.${number}`, `${path}.${number + 1}`);
        renameSync(path, `${path}.1`);
        current = `${path}.1`;
      }
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

  test("a client that leaves ends it", async () => {
    writeFileSync(path, line(0));
    const leave = new AbortController();
    const result = read({ follow: true, signal: leave.signal }, new Promise(() => {}));
    await Bun.sleep(10);
    leave.abort();
    expect(await result).toBe("line 0\n");
  });

  test("until in the past ends it, though the container runs", async () => {
    writeFileSync(path, line(0) + line(5));
    expect(await read({ follow: true, until: (base + 2n) * 1_000_000_000n }, new Promise(() => {}))).toBe("line 0\n");
  });
});

describe("rotation", () => {
  test("keeps the number of files and tells the monitor", async () => {
    const ctl = join(root, "ctl");
    // A plain file stands for the fifo: what is written to it is what counts.
    writeFileSync(ctl, "");
    for (let i = 0; i < 6; i++) {
      writeFileSync(path, line(i));
      await rotateOnce(path, ctl, 3);
      expect(readFileSync(ctl, "utf8")).toBe("2 0 0\n");
    }
    expect(existsSync(path)).toBe(false);
    expect(readFileSync(`${path}.1`, "utf8")).toBe(line(5));
    expect(readFileSync(`${path}.2`, "utf8")).toBe(line(4));
    expect(existsSync(`${path}.3`)).toBe(false);
  });

  test("without a monitor only the name changes", async () => {
    writeFileSync(path, line(0));
    await rotateOnce(path, join(root, "none"), 2);
    expect(readFileSync(`${path}.1`, "utf8")).toBe(line(0));
  });

  test("remove takes all files", async () => {
    for (const name of [path, `${path}.1`, `${path}.12`]) writeFileSync(name, "");
    writeFileSync(join(root, "hosts"), "");
    await createLogs({ log: silent }).remove(path);
    expect(existsSync(path) || existsSync(`${path}.1`) || existsSync(`${path}.12`)).toBe(false);
    expect(existsSync(join(root, "hosts"))).toBe(true);
  });
});
