import { openSync, readFileSync } from "node:fs";

/** What scenarios inside the guest do with their engine. Each check prints `GUEST ok <check>` or `GUEST FAIL <check>: <why>`. */
const socket = "/run/berth.sock";
const logFile = "/var/engine.log";
const endOfLog = (): string => readFileSync(logFile, "utf8").slice(-4000);
let engine: Bun.Subprocess | undefined;

export async function startEngine(flags: string[] = [], dataRoot = "/var/lib/berth"): Promise<void> {
  const log = openSync(logFile, "a");
  const roots = ["--data-root", dataRoot, "--exec-root", "/run/berth", "--host", `unix://${socket}`];
  const env = { PATH: "/usr/bin:/bin", HOME: "/root" }; // not BUN_BE_BUN
  engine = Bun.spawn(["/usr/bin/berth", "daemon", "--config-file", "/dev/null", "--debug", ...roots, ...flags], { stdio: ["ignore", log, log], env });
  for (let i = 0; i < 600; i++) {
    if (engine.exitCode !== null) break;
    const answer = await fetch("http://engine/_ping", { unix: socket }).catch(() => undefined);
    if (answer?.ok === true) return;
    await Bun.sleep(50);
  }
  throw new Error(`the engine doesn't answer:\n${endOfLog()}`);
}

/** Without an engine there is nothing to be checked. */
export function endWithoutEngine(): void {
  if (engine === undefined || engine.exitCode !== null) process.exit(1);
}

/** Its exit code. */
export async function stopEngine(signal: NodeJS.Signals): Promise<number | undefined> {
  engine?.kill(signal);
  return await engine?.exited;
}

export async function api<T>(path: string): Promise<T> {
  return (await (await fetch(`http://engine${path}`, { unix: socket })).json()) as T;
}

export async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const child = Bun.spawn(["/usr/bin/berth", ...args], {
    stdout: "pipe",
    stderr: "pipe",
    stdin: "ignore",
    env: { PATH: "/usr/bin:/bin", HOME: "/root", DOCKER_HOST: `unix://${socket}` },
  });
  const [out, err, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  return { code, out: out.trim(), err: err.trim() };
}

/** Must succeed; its output. */
export async function ok(...args: string[]): Promise<string> {
  const { code, out, err } = await run(...args);
  if (code !== 0) throw new Error(`berth ${args.join(" ")}: exit code ${code}: ${err} ${out}`);
  return out;
}

export function equal(found: unknown, wanted: unknown): void {
  if (JSON.stringify(found) !== JSON.stringify(wanted)) throw new Error(`found ${JSON.stringify(found)}, wanted ${JSON.stringify(wanted)}`);
}

export async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 300; i++) {
    if (await condition()) return;
    await Bun.sleep(100);
  }
  throw new Error(`never: ${what}`);
}

export async function check(name: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
    console.log(`GUEST ok ${name}`);
  } catch (error) {
    console.log(`GUEST FAIL ${name}: ${(error as Error).message.replaceAll("\n", " | ")}`);
    if (engine !== undefined) console.log(`The engine's log:\n${endOfLog()}`);
  }
}

export interface State {
  Status: string;
  Pid: number;
  StartedAt: string;
  FinishedAt: string;
  ExitCode: number;
  OOMKilled: boolean;
  Error: string;
}
export const state = async (name: string): Promise<State> => (await api<{ State: State }>(`/containers/${name}/json`)).State;
