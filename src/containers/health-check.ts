import { messageOf } from "../lib/errors.ts";
import { longestTimer } from "../lib/sleep.ts";
import { formatDuration } from "../lib/time.ts";
import type { RunningSandbox } from "../sandbox/types.ts";
import type { HealthProbe } from "./health-probe.ts";
import type { ContainerRecord } from "./types.ts";

/** Bytes of output that a result keeps; Docker's. */
const keptOutput = 4096;
/** Bytes of an answer's head. */
const longestHead = 64 << 10;

export interface CheckResult {
  exitCode: number;
  output: string;
}

/** Asks once. Never throws: what went wrong is the result. `signal` ends it. */
export async function checkHealth(
  probe: HealthProbe,
  record: ContainerRecord,
  sandbox: RunningSandbox,
  options: { timeoutMs: number; signal: AbortSignal },
): Promise<CheckResult> {
  try {
    return probe.kind === "command" ? await runCheck(probe.args, record, sandbox, options) : await dialCheck(probe, sandbox, options);
  } catch (error) {
    return { exitCode: -1, output: messageOf(error) };
  }
}

/** Docker's words. */
const exceeded = (timeoutMs: number): string => `Health check exceeded timeout (${formatDuration(timeoutMs * 1e6)})`;

async function runCheck(
  args: string[],
  { id, config }: ContainerRecord,
  sandbox: RunningSandbox,
  options: { timeoutMs: number; signal: AbortSignal },
): Promise<CheckResult> {
  if (args.length === 0) return { exitCode: -1, output: `healthcheck for container ${id} has no command` };
  const { exitCode, output, isLate } = await sandbox.command(
    { args, user: config.User ?? "", cwd: config.WorkingDir ?? "" },
    { ...options, outputLimit: keptOutput },
  );
  if (!isLate) return { exitCode, output };
  return { exitCode, output: output === "" ? exceeded(options.timeoutMs) : `${exceeded(options.timeoutMs)}: ${output}` };
}

type DialProbe = Exclude<HealthProbe, { kind: "command" }>;

async function dialCheck(probe: DialProbe, sandbox: RunningSandbox, options: { timeoutMs: number; signal: AbortSignal }): Promise<CheckResult> {
  // closes the connection, whatever it waits for
  const over = new AbortController();
  const { promise: late, resolve } = Promise.withResolvers<CheckResult>();
  const end = (): void => {
    over.abort();
    resolve({ exitCode: -1, output: exceeded(options.timeoutMs) });
  };
  const timer = setTimeout(end, Math.min(options.timeoutMs, longestTimer));
  options.signal.addEventListener("abort", end, { once: true });
  try {
    return await Promise.race([ask(probe, sandbox, over.signal), late]);
  } finally {
    clearTimeout(timer);
    options.signal.removeEventListener("abort", end);
  }
}

async function ask(probe: DialProbe, sandbox: RunningSandbox, signal: AbortSignal): Promise<CheckResult> {
  const target = `${probe.host.includes(":") ? `[${probe.host}]` : probe.host}:${probe.port}`;
  try {
    using connection = await dialFirst(probe, sandbox, signal);
    if (probe.kind === "tcp") return { exitCode: 0, output: `connected to ${target}` };
    await connection.send(
      Buffer.from(`GET ${probe.path} HTTP/1.1\r\nHost: ${target}\r\nUser-Agent: berth-healthcheck\r\nAccept: */*\r\nConnection: close\r\n\r\n`),
    );
    let answer = Buffer.alloc(0);
    while (!answer.includes("\r\n\r\n")) {
      const chunk = await connection.receive();
      if (chunk.length === 0 || answer.length > longestHead) return { exitCode: 1, output: `${target} gave no HTTP answer` };
      answer = Buffer.concat([answer, chunk]);
    }
    return judge(answer);
  } catch (error) {
    return { exitCode: 1, output: `${target}: ${messageOf(error)}` };
  }
}

async function dialFirst(probe: DialProbe, sandbox: RunningSandbox, signal: AbortSignal): Promise<Awaited<ReturnType<RunningSandbox["dial"]>>> {
  let failed: unknown;
  for (const address of probe.addresses) {
    try {
      return await sandbox.dial(address, probe.port, signal);
    } catch (error) {
      failed ??= error;
    }
  }
  throw failed;
}

/** As everywhere: 2xx and 3xx are good. A bad answer is shown with what has come of its body. */
function judge(answer: Buffer): CheckResult {
  const end = answer.indexOf("\r\n\r\n");
  const [status = ""] = answer.subarray(0, end).toString("latin1").split("\r\n");
  const code = Number(/^HTTP\/1\.[01] (\d{3})\b/.exec(status)?.[1] ?? 0);
  if (code >= 200 && code < 400) return { exitCode: 0, output: status };
  const body = answer.subarray(end + 4);
  const shown = body.subarray(0, keptOutput).toString("utf8") + (body.length > keptOutput ? "..." : "");
  return { exitCode: 1, output: shown === "" ? status : `${status}\n\n${shown}` };
}
