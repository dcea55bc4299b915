import { describe, expect, test } from "bun:test";

const MARK = "BERTH_TEST_NAMESPACE";

/**
 * Runs the tests of `body` in a process of their own inside new network, mount and pid namespaces, so that the host's links, rules, routes and sysctls
 * are never touched, and all of the test's own (its processes too) vanish with it, also when a test fails. The outer run shows the inner one's output and fails with it.
 */
export function inOwnNamespace(file: string, name: string, body: () => void): void {
  if (process.env[MARK] === "1") {
    describe(name, body);
    return;
  }
  test(`${name}, in a namespace of its own`, async () => {
    const child = Bun.spawn(["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", process.execPath, "test", "--timeout", "60000", file], {
      env: { ...process.env, [MARK]: "1" },
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, err, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
    if (code !== 0) console.error(out + err);
    expect(code).toBe(0);
  }, 180_000);
}
