/**
 * Runs what `npm test` runs: checks, unit tests, then each file that touches the kernel in a process of its own, with a look at what it left
 * behind. The last line is `N passed, N failed[, N skipped]`; the exit code is 0 only where nothing failed.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Glob } from "bun";
import { kernelState, leaks } from "./leaks.ts";
import { claim, sweepAfterDead, sweepAway } from "./sweep.ts";

const bun = process.execPath;
const scratch = mkdtempSync(join(tmpdir(), "berth-test-"));
/** Where tests make what they need: what is in it after a file's tests was left behind. */
const folder = join(scratch, "t");
mkdirSync(folder);
claim(scratch);
await sweepAfterDead(tmpdir());
const totals = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];
const fileLimitMs = 12 * 60_000;

let stopped: Promise<never> | undefined;
for (const [signal, code] of [
  ["SIGHUP", 129],
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const) {
  process.once(signal, () => {
    stopped ??= sweepAway(scratch).then(
      () => process.exit(code),
      (error: unknown) => {
        console.error(error);
        process.exit(1);
      },
    );
  });
}

function record(name: string, ok: boolean): void {
  if (ok) totals.passed++;
  else {
    totals.failed++;
    failures.push(name);
  }
}

async function run(command: string[], limitMs: number): Promise<{ code: number; timedOut: boolean }> {
  const child = Bun.spawn(command, { stdio: ["ignore", "inherit", "inherit"], env: { ...process.env, NO_COLOR: "1", TMPDIR: folder } });
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill("SIGKILL");
  }, limitMs);
  const code = await child.exited;
  clearTimeout(timer);
  // nothing more is begun
  await stopped;
  return { code, timedOut };
}

/** Runs test files in one process and adds up what its report says; a process that died without one is a failure. */
async function runFiles(label: string, files: string[]): Promise<void> {
  const report = join(scratch, "report.xml");
  rmSync(report, { force: true });
  const { code, timedOut } = await run([bun, "test", "--timeout", "120000", "--reporter=junit", `--reporter-outfile=${report}`, ...files], fileLimitMs);
  let xml = "";
  try {
    xml = readFileSync(report, "utf8");
  } catch {
    record(`${label}: ended with code ${code}${timedOut ? ` after ${fileLimitMs / 1000} s` : ""} and no report`, false);
    return;
  }
  const root = /<testsuites[^>]*>/.exec(xml)?.[0] ?? "";
  const count = (name: string): number => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(root)?.[1] ?? 0);
  const failed = count("failures") + count("errors");
  totals.skipped += count("skipped");
  totals.failed += failed;
  totals.passed += count("tests") - failed - count("skipped");
  for (const match of xml.matchAll(/<testcase name="([^"]*)"[^>]*>\s*<(?:failure|error)/g)) failures.push(`${label}: ${match[1]}`);
  if (code !== 0 && failed === 0) record(`${label}: ended with code ${code}${timedOut ? " (time limit)" : ""} though no test failed`, false);
}

async function settled(before: Set<string>): Promise<string[]> {
  // The kernel takes links and namespaces down in the background: give it up to 5 s.
  for (let i = 0; ; i++) {
    const left = [...leaks(before, kernelState(folder)), ...readdirSync(folder).map((name) => `file ${name}`)];
    if (left.length === 0 || i === 50) return left;
    await Bun.sleep(100);
  }
}

const given = process.argv.slice(2);
const files = (pattern: string): string[] => [...new Glob(pattern).scanSync(".")].sort();

if (given.length === 0) {
  for (const check of ["format", "lint", "types"]) record(`check: ${check}`, (await run(["sh", "scripts/check", check], 120_000)).code === 0);
  await runFiles("unit", ["test/architecture.test.ts", ...files("src/**/*.test.ts"), ...files("bench/**/*.test.ts")]);
}
const wanted = given.length > 0 ? given : [...files("test/kernel/*.test.ts"), ...files("test/e2e/*.test.ts"), ...files("test/guest/*.test.ts")];
for (const file of wanted) {
  const before = kernelState(folder);
  await runFiles(file, [file]);
  const left = await settled(before);
  if (left.length > 0) {
    console.error(`${file} left behind:\n  ${left.join("\n  ")}`);
    record(`${file}: left something behind`, false);
    // what runs on, or is mounted, would spoil the next file's
    await sweepAway(folder);
    mkdirSync(folder);
  }
}

rmSync(scratch, { recursive: true, force: true });
if (failures.length > 0) console.log(`\nFailed:\n  ${failures.join("\n  ")}`);
console.log(`\n${totals.passed} passed, ${totals.failed} failed${totals.skipped > 0 ? `, ${totals.skipped} skipped` : ""}`);
process.exit(totals.failed === 0 ? 0 : 1);
