import { invalidArgument, unavailable } from "../lib/errors.ts";
import { emitEvent, lookupRunning, type Context } from "./context.ts";
import { columnsOf, processTable } from "./processes.ts";

interface Table {
  titles: string[];
  processes: string[][];
}

/** `ps -ef` by default, read from /proc without any process; other arguments go to the host's ps, if it has one. @throws EngineError conflict, invalidArgument */
export async function top(ctx: Context, reference: string, psArgs: string): Promise<Table> {
  const { record, sandbox } = lookupRunning(ctx, reference);
  const args = psArgs.trim() || "-ef";
  checkArgs(args);
  const pids = await sandbox.pids();
  const table = args === "-ef" ? await processTable(columnsOf(args)!, pids) : await fromPs(args, pids);
  emitEvent(ctx, record, { action: "top" });
  return table;
}

/** Docker's rule: no other column takes the title by which processes are told apart. */
function checkArgs(args: string): void {
  if (args.length > 1024) throw invalidArgument("ps arguments are too long");
  for (const [, name = "", title = ""] of args.matchAll(/\s+(\S*)=\s*(PID\S*)/g)) {
    if (name !== "pid") throw invalidArgument(`specifying "${name}=${title}" is not allowed`);
  }
}

async function fromPs(args: string, pids: readonly number[]): Promise<Table> {
  const program = Bun.which("ps");
  if (program === null) {
    const columns = columnsOf(args);
    if (columns === undefined) throw unavailable(`ps ${args}: the host has no ps program; without one there are -ef, aux and -o with the commonest fields`);
    if (!columns.some(({ title }) => title === "PID")) throw invalidArgument("Couldn't find PID field in ps output");
    return await processTable(columns, pids);
  }
  const words = args.split(/\s+/);
  // without a choice ps shows the processes of its own terminal; some options (f among them) take none
  const chosen = await run(program, [...words, `-q${pids.join(",")}`]);
  const { code, output, errors } = chosen.code === 0 ? chosen : await run(program, words);
  if (code !== 0) throw invalidArgument(`ps: ${errors.split("\n")[0] || `exit status ${code}`}`);
  return parsePs(output, new Set(pids));
}

async function run(program: string, args: string[]): Promise<{ code: number; output: string; errors: string }> {
  const child = Bun.spawn([program, ...args], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin", COLUMNS: "4096" },
  });
  const [output, errors, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  return { code, output, errors };
}

/**
 * The lines of ps whose PID is one of `pids`, each with those of its threads (PID `-`) behind it; the last column takes the rest of its line.
 * @throws EngineError invalidArgument without a PID column
 */
export function parsePs(output: string, pids: ReadonlySet<number>): Table {
  const [head = "", ...lines] = output.split("\n");
  const titles = head.trim().split(/[ \t]+/);
  const column = titles.indexOf("PID");
  if (column < 0) throw invalidArgument("Couldn't find PID field in ps output");
  const processes: string[][] = [];
  let isOurs = false;
  for (const line of lines) {
    const words = line.trim().split(/[ \t]+/);
    const pid = words[column] ?? "";
    if (pid !== "-") isOurs = pids.has(Number(pid));
    if (isOurs) processes.push([...words.slice(0, titles.length - 1), words.slice(titles.length - 1).join(" ")]);
  }
  return { titles, processes };
}
