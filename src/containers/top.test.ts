import { describe, expect, test } from "bun:test";
import { columnsOf, processTable } from "./processes.ts";
import { parsePs } from "./top.ts";

describe("ps", () => {
  const titles = (args: string): string[] | undefined => columnsOf(args)?.map(({ title }) => title);

  test("its commonest arguments without it", () => {
    expect(titles("-ef")).toEqual(["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    expect(titles("aux")).toEqual(["USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND"]);
    expect(titles("ax")).toEqual(["PID", "TTY", "TIME", "CMD"]);
    expect(titles("-e -o pid,args=WHAT -o rss")).toEqual(["PID", "WHAT", "RSS"]);
    expect(titles("axo pid,comm")).toEqual(["PID", "COMMAND"]);
    for (const unknown of ["-eo pid,label", "-q 1", "--forest", "-o", "-eo constructor"]) expect(titles(unknown)).toBeUndefined();
  });

  test("every column of a living process has a value", async () => {
    const names = "pid,ppid,uid,user,comm,args,cmd,time,etime,stime,tty,stat,s,c,pcpu,pmem,vsz,rss,pri,ni,nlwp";
    const { processes } = await processTable(columnsOf(`-eo ${names}`)!, [process.pid, 2 ** 30]);
    expect(processes).toHaveLength(1);
    const [pid, ppid, uid] = processes[0]!;
    expect([pid, ppid, uid]).toEqual([String(process.pid), String(process.ppid), String(process.getuid!())]);
    expect(processes[0]!.every((value) => value !== "" && !value.includes("NaN"))).toBe(true);
  });

  test("a container's lines of the host's ps, its threads among them", () => {
    const output = "  PID   LWP CMD\n    7     - a b  c\n    -     7 -\n    8     - other\n    -     8 -\n";
    expect(parsePs(output, new Set([7]))).toEqual({
      titles: ["PID", "LWP", "CMD"],
      processes: [
        ["7", "-", "a b c"],
        ["-", "7", "-"],
      ],
    });
    expect(() => parsePs("CMD\nx\n", new Set([7]))).toThrow("Couldn't find PID field in ps output");
  });
});
