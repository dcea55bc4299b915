import { ApiError, ConnectionError } from "../client/errors.ts";
import { messageOf } from "../lib/errors.ts";
import { CliError } from "./errors.ts";

/** An error as users read it, with the next step where there is one. */
export function describe(error: unknown): string {
  if (error instanceof CliError) return error.message;
  if (error instanceof ApiError) return `Error response from daemon: ${error.message}`;
  if (error instanceof ConnectionError) return error.message + connectionHint(error);
  return messageOf(error);
}

function connectionHint({ code, host }: ConnectionError): string {
  if (code === "EACCES" || code === "EPERM") return "\nRun it as root, or join the group that owns the socket (berthd --group).";
  if (code !== "ENOENT" && code !== "ECONNREFUSED") return "";
  if (!host.startsWith("unix://")) return "\nCheck the address (-H, DOCKER_HOST, berth context ls) and that the engine listens there.";
  return "\nStart the engine with 'berthd', or name another with -H, DOCKER_HOST or 'berth context use'.";
}
