import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { skipped } from "../skips.ts";
import { suiteEngine, until } from "./harness.ts";

/** Takes everything that comes to a unix socket. */
async function receiver(path: string): Promise<Disposable & { lines(): string[] }> {
  const pieces: Buffer[] = [];
  const sockets = new Set<{ destroy(): void }>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("data", (chunk: Buffer) => void pieces.push(chunk));
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    lines: () => Buffer.concat(pieces).toString().split("\n").slice(0, -1),
    [Symbol.dispose]: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

function isRemovedLog(path: string): boolean {
  try {
    return /container\.log.*\(deleted\)/.test(readlinkSync(path));
  } catch {
    return false; // gone by now
  }
}

describe.skipIf(skipped("root", "overlay", "docker"))("logs", () => {
  const engine = suiteEngine();

  const filesOf = (id: string): string[] => readdirSync(join(engine.root, "data/containers", id)).filter((name) => name.startsWith("container.log"));

  test("an engine killed while it rotates, compresses, forwards and is followed loses and doubles nothing", async () => {
    using syslog = await receiver(join(engine.root, "syslog"));
    const script = "i=0; while [ $i -lt 200 ]; do seq $((i * 100)) $((i * 100 + 99)); i=$((i + 1)); sleep 0.02; done; printf end";
    const id = await engine.ok(
      ...["run", "-d", "--log-driver", "syslog", "--log-opt", `syslog-address=unix://${engine.root}/syslog`, "--log-opt", "tag={{.Name}}", "--name", "numbers"],
      ...["--log-opt", "cache-max-size=50k", "--log-opt", "cache-max-file=1000", "busybox", "sh", "-c", script],
    );
    for (let i = 0; i < 6; i++) {
      const follower = engine.docker(["logs", "-f", "--tail", "5", id]);
      await Bun.sleep(200 + Math.random() * 400);
      await engine.kill9();
      await follower;
      await engine.start();
    }
    expect(await engine.ok("wait", id)).toBe("0");
    const expected = Array.from({ length: 20_000 }, (_, i) => String(i)).concat("end");
    expect((await engine.ok("logs", id)).split("\n")).toEqual(expected);
    await until("the last line", () => syslog.lines().at(-1)?.endsWith(": end"));
    expect(syslog.lines().map((line) => line.replace(/^<30>\w+ [ \d]\d \d\d:\d\d:\d\d numbers\[\d+\]: /, ""))).toEqual(expected);
    await until("compressed files", () => filesOf(id).filter((name) => name.endsWith(".gz")).length > 3);
    expect((await engine.ok("logs", id)).split("\n")).toEqual(expected);
    expect((await engine.ok("logs", "--tail", "15000", id)).split("\n")).toEqual(expected.slice(-15_000));
    await engine.ok("rm", id);
  }, 60_000);

  test("the last lines of a container that is removed at its end arrive; one whose receiver isn't there doesn't start", async () => {
    using syslog = await receiver(join(engine.root, "syslog2"));
    const log = ["--log-driver", "syslog", "--log-opt", `syslog-address=unix://${engine.root}/syslog2`, "--log-opt", "syslog-facility=local0"];
    expect(await engine.ok("run", "--rm", ...log, "busybox", "sh", "-c", "echo one; echo two >&2")).toBe("one");
    await until("both lines", () => syslog.lines().length === 2);
    expect(
      syslog
        .lines()
        .map((line) => line.replace(/>.*:/, ">"))
        .sort(),
    ).toEqual(["<131> two", "<134> one"]);
    const { code, stderr } = await engine.docker(["run", "--rm", "--log-driver", "syslog", "--log-opt", "syslog-address=tcp://127.0.0.1:1", "busybox", "true"]);
    expect(code).toBe(125);
    expect(stderr).toContain("failed to initialize logging driver: dial tcp://127.0.0.1:1: connect: connection refused");
    const silent = await engine.docker(["run", "-d", ...log, "--log-opt", "cache-disabled=true", "--name", "uncached", "busybox", "true"]);
    expect(silent.code).toBe(0);
    expect((await engine.docker(["logs", "uncached"])).stderr).toContain("configured logging driver does not support reading");
    await engine.ok("rm", "-f", "uncached");
  });

  test("details, times and long lines as Docker shows them, by both clients", async () => {
    const id = await engine.ok(
      ...["run", "-d", "--log-opt", "labels=team", "--log-opt", "env-regex=^STA", "--log-opt", "tag={{.Name}}", "--label", "team=a b", "-e", "STAGE=1"],
      ...["--name", "detailed", "busybox", "sh", "-c", "echo first; head -c 20000 /dev/zero | tr '\\0' x; echo"],
    );
    await engine.ok("wait", id);
    const shown = await engine.ok("logs", "-t", "--details", id);
    const time = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z`;
    expect(shown).toMatch(new RegExp(`^${time} STAGE=1,tag=detailed,team=a\\+b first\\n`));
    // Docker's records have 16 KiB, each with its time.
    expect(shown.split("\n")[1]).toMatch(new RegExp(`^${time} \\S+ x{16384}${time} \\S+ x{3616}$`));
    expect((await engine.berth(["logs", "-t", "--details", id])).stdout).toBe(`${shown}\n`);
    expect(await engine.ok("logs", "--tail", "1", id)).toBe("x".repeat(20_000));
    await engine.ok("rm", id);
  });

  test("a flood keeps its bound, whoever reads it not", async () => {
    const id = await engine.ok(
      "run",
      "-d",
      "--log-opt",
      "max-size=1m",
      "--log-opt",
      "max-file=3",
      "busybox",
      "yes",
      "0123456789012345678901234567890123456789",
    );
    const directory = join(engine.root, "data/containers", id);
    const followers = Array.from({ length: 5 }, () => {
      const socket = connect({ path: engine.socket });
      socket.pause();
      socket.write(`GET /containers/${id}/logs?follow=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: x\r\n\r\n`);
      return socket;
    });
    // Of files, and of those that were removed while somebody has them open: each once, however many have it.
    const used = (): number => {
      const blocks = new Map<number, number>();
      const note = (path: string): void => {
        try {
          const { ino, blocks: count } = statSync(path);
          blocks.set(ino, count);
        } catch {
          // gone by now
        }
      };
      for (const name of filesOf(id)) note(join(directory, name));
      for (const fd of readdirSync(`/proc/${engine.pid}/fd`)) {
        const path = `/proc/${engine.pid}/fd/${fd}`;
        if (isRemovedLog(path)) note(path);
      }
      return [...blocks.values()].reduce((sum, count) => sum + count * 512, 0);
    };
    await until("a rotation", () => filesOf(id).some((name) => /\.\d+$/.test(name)));
    const pid = await engine.ok("inspect", "-f", "{{.State.Pid}}", id);
    const written = (): number => Number(/^wchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))![1]);
    for (const megabytes of [200, 300, 400]) {
      await until(`a flood of ${megabytes} MB`, () => written() > megabytes << 20);
      // A busy machine may look late, and then there is more for a moment; without the bound there is only ever more.
      await until("no more than the bound, nearly", () => used() < 30 << 20);
    }
    const line = "0123456789012345678901234567890123456789";
    const tail = (await engine.ok("logs", "--tail", "2", id)).split("\n");
    // The last one may not have come to its end.
    expect([tail.length, tail[0], line.startsWith(tail[1] as string)]).toEqual([2, line, true]);
    // in the middle of a rotation there is none, and right after it an empty one
    await until("lines in the present file", () => (statSync(join(directory, "container.log"), { throwIfNoEntry: false })?.size ?? 0) > 0);
    expect(filesOf(id).length).toBeLessThan(8);
    for (const socket of followers) socket.destroy();
    await engine.ok("rm", "-f", id);
  });
});
