import { RegistryError } from "../distribution/errors.ts";
import { EngineError, kindOf, messageOf, type ErrorKind } from "../lib/errors.ts";
import { isDiskFull } from "../lib/disk-full.ts";
import { BadRequest } from "../lib/http-body.ts";

/** The one place where kinds become HTTP codes. */
const codes: Record<ErrorKind, number> = {
  notFound: 404,
  invalidArgument: 400,
  conflict: 409,
  notModified: 304,
  unauthorized: 401,
  permissionDenied: 403,
  unavailable: 503,
  notImplemented: 501,
  cancelled: 499,
  internal: 500,
};

export interface ErrorAnswer {
  status: number;
  message: string;
  /** Ours, not the client's: to be logged. */
  unexpected: boolean;
}

export function errorAnswer(error: unknown): ErrorAnswer {
  if (error instanceof BadRequest) return { status: error.status, message: error.message, unexpected: false };
  // the user's to mend, whatever the engine was doing; Docker's code
  if (isDiskFull(error)) return { status: 500, message: diskFullText(error), unexpected: false };
  const kind = kindOf(error);
  // a registry that can't be reached or fails: dockerd's code, though the fault is neither ours nor the client's
  if (error instanceof RegistryError && kind === "unavailable") return { status: 500, message: messageOf(error), unexpected: false };
  // a throw that is no EngineError is our bug, and the log must show it
  return { status: codes[kind], message: messageOf(error), unexpected: kind === "internal" || !(error instanceof EngineError || kind === "cancelled") };
}

/** The sentence that was made for it, else Docker's form: `mkdir /path: no space left on device`. */
function diskFullText(error: unknown): string {
  if (error instanceof EngineError) return error.message;
  const { syscall, path, code } = error as { syscall?: string; path?: string; code?: string };
  if (code === "SQLITE_FULL") return "writing the engine's records: no space left on device";
  return syscall === undefined ? messageOf(error) : `${syscall}${path === undefined ? "" : ` ${path}`}: no space left on device`;
}
