import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { startTimeOf } from "../kernel/process.ts";

/** What the next engine needs to find a container's processes again. Start times make the pids unmistakable. */
export interface SandboxState {
  pid: number;
  startTime: string;
  monitorPid: number;
  monitorStartTime: string;
}

/** Written before the start byte, into the bundle: it vanishes with the processes at a reboot. */
export function writeState(bundle: string, pid: number, monitorPid: number): void {
  const state: SandboxState = { pid, startTime: startTimeOf(pid) ?? "", monitorPid, monitorStartTime: startTimeOf(monitorPid) ?? "" };
  writeFileSync(`${bundle}/state.json`, JSON.stringify(state), { mode: 0o600 });
}

/** Undefined where the container was never about to start. */
export function readState(bundle: string): SandboxState | undefined {
  try {
    return JSON.parse(readFileSync(`${bundle}/state.json`, "utf8")) as SandboxState;
  } catch (error) {
    // a torn write is one that never got to the start byte
    if (error instanceof SyntaxError || (error as { code?: string }).code === "ENOENT") return undefined;
    throw error;
  }
}

export function removeState(bundle: string): void {
  rmSync(`${bundle}/state.json`, { force: true });
}
