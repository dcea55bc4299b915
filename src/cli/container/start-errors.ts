import { ApiError } from "../../client/errors.ts";

/** Exit code of run and start for a container that could not be started, as shells use them: 127 not found, 126 not executable, else 125. */
export function startExitCode(error: unknown): number {
  if (!(error instanceof ApiError)) return 125;
  const text = error.message.toLowerCase();
  if (text.includes("executable file not found") || text.includes("no such file or directory") || text.includes("system cannot find the file specified"))
    return 127;
  if (text.includes("permission denied") || text.includes("not a directory") || text.includes("is a directory") || text.includes("exec format error"))
    return 126;
  return 125;
}
