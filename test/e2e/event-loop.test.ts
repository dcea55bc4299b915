import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { skipped } from "../skips.ts";
import { debianProgram } from "./debian.ts";
import { suiteEngine, until } from "./harness.ts";

/**
 * Each waits for the disk, or for a grace period of RCU: 20 ms and more on a busy machine. So does `unlink` of a network namespace's file, where another mount namespace
 * has a copy of what is mounted on it; `rename` waits where another thread empties the directory that a tree is moved to. `unshare` of a network namespace and whatever
 * concerns links (`RTM_…`) wait for the kernel's one lock on all links, which it keeps while it takes down namespaces.
 */
const waiting = ["umount2", "fsync", "fdatasync", "syncfs", "sync", "msync", "rename", "vfork", "unshare"];

describe.skipIf(skipped("root", "overlay", "docker", "strace"))("the event loop", () => {
  const engine = suiteEngine();

  test("makes no call that waits, while containers and execs come and go", async () => {
    await engine.ok("run", "--rm", "busybox", "true");
    const told = join(engine.root, "strace");
    // without -f it is the main thread alone
    await using tracer = Bun.spawn(
      [debianProgram("strace", "usr/bin/strace")!, "-p", String(engine.pid), "-e", `trace=${waiting.join(",")},unlink,mkdir,sendto`, "-o", told],
      {
        stdout: "ignore",
        stderr: "pipe",
      },
    );
    const reader = tracer.stderr.getReader();
    expect(new TextDecoder().decode((await reader.read()).value)).toContain("attached");
    await engine.ok("run", "-d", "--name", "one", "-p", "8080", "busybox", "sleep", "1000");
    await engine.ok("exec", "one", "true");
    await engine.ok("run", "--rm", "--ipc", "shareable", "busybox", "true");
    await engine.ok("restart", "-t", "0", "one");
    await engine.ok("rm", "-f", "one");
    // it has seen something
    await until("the tracer has written", () => readFileSync(told, "latin1").includes("mkdir("));
    tracer.kill("SIGINT");
    await tracer.exited;
    const lines = readFileSync(told, "latin1").split("\n");
    const waits = new RegExp(`^(${waiting.join("|")})\\(`);
    const ofNamespace = (line: string): boolean => line.startsWith(`unlink("${engine.run}/netns/`);
    // strace knows no names for what goes to another network namespace: RTM_NEWLINK is 0x10, as NFNL_MSG_BATCH_BEGIN is, which has 20 bytes
    const ofLinks = (line: string): boolean => /^sendto\(.*nlmsg_type=(RTM_|0x1.\b)/.test(line) && !line.includes("nlmsg_len=20, nlmsg_type=0x10");
    expect(lines.filter((line) => !line.includes("ENOENT") && (waits.test(line) || ofNamespace(line) || ofLinks(line)))).toEqual([]);
  });
});
