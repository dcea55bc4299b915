import { expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { endFormerCompile } from "./seccomp-compile.ts";

test("a compile that was left behind is ended; a pid that is another's by now isn't", async () => {
  const root = mkdtempSync(join(tmpdir(), "berth-seccomp-"));
  const scratch = join(root, "seccomp");
  const leave = (pid: number): void => {
    mkdirSync(scratch, { recursive: true });
    writeFileSync(join(scratch, "pid"), String(pid));
  };
  using stack = new DisposableStack();
  stack.defer(() => rmSync(root, { recursive: true }));
  const former = Bun.spawn(["sh", "-c", "read line", `${scratch}/state`], { stdin: "pipe" });
  const other = Bun.spawn(["sh", "-c", "read line", `${scratch}-other/state`], { stdin: "pipe" });
  stack.defer(() => other.kill("SIGKILL"));
  stack.defer(() => former.kill("SIGKILL"));
  leave(other.pid);
  await endFormerCompile(scratch);
  leave(former.pid);
  await endFormerCompile(scratch);
  await former.exited;
  expect(former.signalCode).toBe("SIGKILL");
  expect(other.killed).toBe(false);
  expect(other.exitCode).toBeNull();
  expect(existsSync(scratch)).toBe(false);
});
