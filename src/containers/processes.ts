import { readFile, readdir, stat } from "node:fs/promises";
import { availableParallelism, totalmem } from "node:os";

/** What /proc tells of one process; times in seconds, sizes in KiB. */
interface Process {
  pid: number;
  ppid: number;
  uid: number;
  user: string;
  name: string;
  command: string;
  state: string;
  terminal: string;
  started: number;
  age: number;
  cpu: number;
  virtual: number;
  resident: number;
  priority: number;
  nice: number;
  threads: number;
}

interface Column {
  title: string;
  of(process: Process): string | number;
}

const column = (title: string, of: Column["of"]): Column => ({ title, of });

/** Fields of `ps -o` and their titles, as procps has them. */
const columns: Readonly<Record<string, Column>> = {
  pid: column("PID", ({ pid }) => pid),
  ppid: column("PPID", ({ ppid }) => ppid),
  uid: column("UID", ({ uid }) => uid),
  user: column("USER", ({ user }) => user),
  comm: column("COMMAND", ({ name }) => name),
  args: column("COMMAND", ({ command }) => command),
  command: column("COMMAND", ({ command }) => command),
  cmd: column("CMD", ({ command }) => command),
  time: column("TIME", ({ cpu }) => clockText(cpu)),
  etime: column("ELAPSED", ({ age }) => elapsedText(age)),
  stime: column("STIME", ({ started }) => startText(started)),
  tty: column("TT", ({ terminal }) => terminal),
  stat: column("STAT", ({ state }) => state),
  s: column("S", ({ state }) => state),
  c: column("C", (process) => Math.min(99, Math.floor(share(process)))),
  pcpu: column("%CPU", (process) => share(process).toFixed(1)),
  pmem: column("%MEM", ({ resident }) => ((resident * 102_400) / totalmem()).toFixed(1)),
  vsz: column("VSZ", ({ virtual }) => virtual),
  rss: column("RSS", ({ resident }) => resident),
  pri: column("PRI", ({ priority }) => 19 - (priority - 20)),
  ni: column("NI", ({ nice }) => nice),
  nlwp: column("NLWP", ({ threads }) => threads),
};
const titled = (name: string, title: string): Column => ({ ...columns[name]!, title });

const full = [titled("user", "UID"), ...["pid", "ppid", "c", "stime"].map((name) => columns[name]!), titled("tty", "TTY"), columns["time"]!, columns["cmd"]!];
const brief = [columns["pid"]!, titled("tty", "TTY"), columns["time"]!, titled("comm", "CMD")];
const bsd = [
  ...["user", "pid", "pcpu", "pmem", "vsz", "rss"].map((name) => columns[name]!),
  titled("tty", "TTY"),
  columns["stat"]!,
  titled("stime", "START"),
  columns["time"]!,
  columns["args"]!,
];

/** The columns that ps' commonest arguments ask for: `-ef`, `aux`, `-eo pid,comm`. Undefined for others. Which processes are meant, the container says. */
export function columnsOf(args: string): Column[] | undefined {
  const words = args.split(/\s+/).filter(Boolean);
  const fields: string[] = [];
  let isFull = false;
  let isBsd = false;
  for (let at = 0; at < words.length; at++) {
    const match = /^(-?)([A-Za-z]*)$/.exec(words[at]!);
    if (match === null) return undefined;
    const [, dash, letters = ""] = match;
    if (!/^[aAdefuxwo]*$/.test(letters)) return undefined;
    if (letters.includes("f")) isFull = true;
    if (letters.includes("u") && dash === "") isBsd = true;
    if (letters.includes("o")) fields.push(...(words[++at] ?? "").split(","));
  }
  if (fields.length === 0) return isBsd ? bsd : isFull ? full : brief;
  const chosen = fields.map((field) => {
    const [name = "", title] = field.split("=");
    const known = Object.hasOwn(columns, name) ? columns[name] : undefined;
    return known && (title ? { ...known, title } : known);
  });
  return chosen.every((each) => each !== undefined) ? chosen : undefined;
}

/** A table of those of `pids` that live, read from /proc without any process. */
export async function processTable(chosen: readonly Column[], pids: readonly number[]): Promise<{ titles: string[]; processes: string[][] }> {
  const host = { users: await userNames(), bootTime: await bootSeconds(), terminals: await terminalNames() };
  const processes: string[][] = [];
  for (const pid of pids) {
    const process = await readProcess(pid, host);
    if (process !== undefined) processes.push(chosen.map(({ of }) => String(of(process))));
  }
  return { titles: chosen.map(({ title }) => title), processes };
}

/** Kernel clock ticks in a second: 100 on every Linux that is built for these machines. */
const ticks = 100;

/** Undefined for a process that has ended meanwhile. */
async function readProcess(pid: number, host: { users: Map<number, string>; bootTime: number; terminals: Map<number, string> }): Promise<Process | undefined> {
  try {
    const [text, command, { uid }] = await Promise.all([readFile(`/proc/${pid}/stat`, "utf8"), readFile(`/proc/${pid}/cmdline`, "utf8"), stat(`/proc/${pid}`)]);
    // the name stands in parentheses and may hold anything, parentheses too
    const name = text.slice(text.indexOf("(") + 1, text.lastIndexOf(")"));
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    const number = (index: number): number => Number(fields[index] ?? 0);
    const started = host.bootTime + number(19) / ticks;
    return {
      pid,
      ppid: number(1),
      uid,
      user: host.users.get(uid) ?? String(uid),
      name,
      command: command === "" ? `[${name}]` : command.replace(/\0+$/, "").replaceAll("\0", " "),
      state: fields[0] ?? "?",
      terminal: number(4) === 0 ? "?" : (host.terminals.get(number(4)) ?? "?"),
      started,
      age: Math.max(1, Date.now() / 1000 - started),
      cpu: (number(11) + number(12)) / ticks,
      priority: number(15),
      nice: number(16),
      threads: number(17),
      virtual: Math.round(number(20) / 1024),
      resident: number(21) * 4,
    };
  } catch {
    return undefined;
  }
}

/** Percent of one processor over the process's life. */
function share({ cpu, age }: Process): number {
  return Math.min(100 * availableParallelism(), (cpu / age) * 100);
}

/** Hours and minutes for today, else month and day, as ps writes them. */
function startText(seconds: number): string {
  const date = new Date(seconds * 1000);
  if (date.toDateString() === new Date().toDateString()) return `${pad(date.getHours())}:${pad(date.getMinutes())}`;
  return date.toLocaleDateString("en-US", { month: "short" }) + pad(date.getDate());
}

const pad = (value: number): string => String(Math.floor(value)).padStart(2, "0");
const clockText = (seconds: number): string => [seconds / 3600, (seconds / 60) % 60, seconds % 60].map(pad).join(":");

/** `[[days-]hours:]minutes:seconds` */
function elapsedText(seconds: number): string {
  const short = [(seconds / 60) % 60, seconds % 60].map(pad).join(":");
  if (seconds < 3600) return short;
  const long = `${pad((seconds / 3600) % 24)}:${short}`;
  return seconds < 86_400 ? long : `${Math.floor(seconds / 86_400)}-${long}`;
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
