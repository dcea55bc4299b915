import { SysError } from "../kernel/ffi.ts";
import { closeFd } from "../kernel/fs.ts";
import { openProcess } from "../kernel/pidfd.ts";
import { setWindowSize, takeTerminal } from "../kernel/pty.ts";
import { unavailable } from "../lib/errors.ts";
import { readState } from "./state.ts";

/**
 * Sets the size of a container's terminal; nothing where it has none. By the side that its monitor holds: what init has as its own descriptors is the container's affair, and may be
 * closed, or anything at all. (conmon's control fifo could do it too, but loses the second of two messages; fixed in 2.2.) @throws EngineError unavailable
 */
export function resizeTerminal(bundle: string, rows: number, cols: number): void {
  const state = readState(bundle);
  using held = new DisposableStack();
  const own = (fd: number | undefined): number | undefined => (fd === undefined ? undefined : held.adopt(fd, closeFd));
  const monitor = state && own(openProcess(state.monitorPid, state.monitorStartTime));
  if (monitor === undefined) return;
  try {
    const terminal = own(takeTerminal(state!.monitorPid, monitor));
    if (terminal !== undefined) setWindowSize(terminal, rows, cols);
  } catch (error) {
    if (!(error instanceof SysError) || error.code !== "EPERM") throw error;
    throw unavailable(
      "the container's terminal can't be resized: this host lets nobody reach another process's descriptors (kernel.yama.ptrace_scope is 3)",
      error,
    );
  }
}
