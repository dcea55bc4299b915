import { mkdirSync, readFileSync, readlinkSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { conflict } from "../lib/errors.ts";

/** Programs whose pid may rightly stand in the file. Any other process with that number got it after the engine's death. */
const engines = new Set(["berth", "berthd", "dockerd"]);

/** Writes our pid, and takes the file away when disposed. A stale file is replaced. @throws EngineError conflict where a living engine is named in it */
export function writePidfile(path: string, pid: number): Disposable {
  const former = livingEngine(path);
  if (former !== undefined && former !== pid) {
    throw conflict(`another engine is running with this pid file: make sure that process ${former} has ended, or delete ${path}`);
  }
  mkdirSync(dirname(path), { recursive: true });
  // whole or not at all, for those who read it meanwhile
  writeFileSync(`${path}.new`, `${pid}\n`);
  renameSync(`${path}.new`, path);
  return {
    [Symbol.dispose]: () => {
      if (readPid(path) === pid) rmSync(path, { force: true });
    },
  };
}

function livingEngine(path: string): number | undefined {
  const pid = readPid(path);
  if (pid === undefined) return undefined;
  try {
    const program = basename(readlinkSync(`/proc/${pid}/exe`)).replace(/ \(deleted\)$/, "");
    return engines.has(program) ? pid : undefined;
  } catch {
    // no such process
    return undefined;
  }
}

function readPid(path: string): number | undefined {
  try {
    const pid = Number(readFileSync(path, "utf8").trim());
    return Number.isInteger(pid) && pid > 0 ? pid : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
