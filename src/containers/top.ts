import { readFile, readdir, stat } from "node:fs/promises";
import { conflict, internal, invalidArgument } from "../lib/errors.ts";
import { emitEvent, lookupRunning, type Context } from "./context.ts";

interface Table {
  titles: string[];
  processes: string[][];
}

/** `ps -ef` by default, read from /proc without any process; other arguments go to the host's ps. @throws EngineError conflict, invalidArgument */
export async function top(ctx: Context, reference: string, psArgs: string): Promise<Table> {
  const { record, sandbox } = lookupRunning(ctx, reference);
  if (record.state.status === "restarting") throw conflict(`container ${record.id} is restarting, wait until the container is running`);
  const pids = await sandbox.pids();
  const args = psArgs.trim();
  const table = args === "" || args === "-ef" ? await fromProc(pids) : await fromPs(args, new Set(pids));
  emitEvent(ctx, record, { action: "top" });
  return table;
}

/** Kernel clock ticks in a second: 100 on every Linux that is built for these machines. */
const ticks = 100;

async function fromProc(pids: number[]): Promise<Table> {
  const [users, bootTime, terminals] = [await userNames(), await bootSeconds(), await terminalNames()];
  const processes: string[][] = [];
  for (const pid of pids) {
    const row = await processRow(pid, users, bootTime, terminals);
    if (row !== undefined) processes.push(row);
  }
  return { titles: ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"], processes };
}

/** Undefined for a process that has ended meanwhile. */
async function processRow(pid: number, users: Map<number, string>, bootTime: number, terminals: Map<number, string>): Promise<string[] | undefined> {
  try {
    const [text, command, { uid }] = await Promise.all([readFile(`/proc/${pid}/stat`, "utf8"), readFile(`/proc/${pid}/cmdline`, "utf8"), stat(`/proc/${pid}`)]);
    // The name stands in parentheses and may hold anything, parentheses too.
    const name = text.slice(text.indexOf("(") + 1, text.lastIndexOf(")"));
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    const [ppid = "0", terminal, user, system, start] = [1, 4, 11, 12, 19].map((index) => fields[index] ?? "0");
    const seconds = Math.floor((Number(user) + Number(system)) / ticks);
    const started = bootTime + Number(start) / ticks;
    const age = Math.max(1, Date.now() / 1000 - started);
    return [
      users.get(uid) ?? String(uid),
      String(pid),
      ppid,
      String(Math.min(99, Math.floor((seconds / age) * 100))),
      startText(started),
      terminal === "0" ? "?" : (terminals.get(Number(terminal)) ?? "?"),
      clockText(seconds),
      command === "" ? `[${name}]` : command.replace(/\0+$/, "").replaceAll("\0", " "),
    ];
  } catch {
    return undefined;
  }
}

/** Hours and minutes for today, else month and day, as ps writes them. */
function startText(seconds: number): string {
  const date = new Date(seconds * 1000);
  const pad = (value: number): string => String(value).padStart(2, "0");
  if (date.toDateString() === new Date().toDateString()) return `${pad(date.getHours())}:${pad(date.getMinutes())}`;
  return date.toLocaleDateString("en-US", { month: "short" }) + pad(date.getDate());
}

function clockText(seconds: number): string {
  return [seconds / 3600, (seconds / 60) % 60, seconds % 60].map((part) => String(Math.floor(part)).padStart(2, "0")).join(":");
}

async function userNames(): Promise<Map<number, string>> {
  const text = await readFile("/etc/passwd", "utf8").catch(() => "");
  return new Map(
    text
      .split("\n")
      .map((line) => line.split(":"))
      .flatMap(([name = "", , uid]) => (uid === undefined ? [] : [[Number(uid), name] as const])),
  );
}

async function bootSeconds(): Promise<number> {
  return Number(/^btime (\d+)$/m.exec(await readFile("/proc/stat", "utf8"))?.[1] ?? 0);
}

/** tty_nr of /proc/<pid>/stat to `pts/0`. Pseudo-terminals have major 136 to 143; the minor's high bits lie above the major. */
async function terminalNames(): Promise<Map<number, string>> {
  const names = await readdir("/dev/pts").catch(() => [] as string[]);
  const minors = new Set([...names.filter((name) => /^\d+$/.test(name)).map(Number), ...Array.from({ length: 256 }, (_, index) => index)]);
  return new Map([...minors].map((minor) => [(136 << 8) | (minor & 0xff) | ((minor & 0xfff00) << 12), `pts/${minor}`]));
}

async function fromPs(text: string, pids: ReadonlySet<number>): Promise<Table> {
  if (text.length > 1024) throw invalidArgument("ps arguments are too long");
  // `-o pid=` would suppress the column's title, by which processes are told apart.
  if (/(?:^|[\s,])pid=/.test(text)) throw invalidArgument('specifying "pid=" is not allowed: the PID column needs its title');
  let child;
  try {
    child = Bun.spawn(["ps", ...text.split(/\s+/)], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin", COLUMNS: "4096" },
    });
  } catch (error) {
    throw internal("cannot list the container's processes: no ps program on the host", error);
  }
  const [output, errors, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  if (code !== 0) throw invalidArgument(`ps: exit status ${code}: ${errors.trim().split("\n")[0] ?? ""}`);
  return parsePs(output, pids);
}

/** The lines of ps whose PID is one of `pids`; the last column takes the rest of its line. @throws EngineError internal without a PID column */
export function parsePs(output: string, pids: ReadonlySet<number>): Table {
  const [head = "", ...lines] = output.split("\n");
  const titles = head.trim().split(/\s+/);
  const column = titles.indexOf("PID");
  if (column < 0) throw invalidArgument("Couldn't find PID field in ps output");
  const processes: string[][] = [];
  for (const line of lines) {
    const words = line.trim().split(/\s+/);
    if (!pids.has(Number(words[column] ?? ""))) continue;
    processes.push([...words.slice(0, titles.length - 1), words.slice(titles.length - 1).join(" ")]);
  }
  return { titles, processes };
}
