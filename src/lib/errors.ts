import { isDiskFull } from "./disk-full.ts";

/** The closed set of ways anything in Berth fails. One file per outer protocol maps kinds to codes. */
export type ErrorKind =
  | "notFound"
  | "invalidArgument"
  | "conflict"
  | "notModified"
  | "unauthorized"
  | "permissionDenied"
  | "unavailable"
  | "notImplemented"
  | "cancelled"
  | "internal";

export interface EngineErrorOptions {
  cause?: unknown;
  /** Exit code a container gets when this error ended its start: 125, 126 or 127. */
  exitCode?: number;
}

/** Text says what was attempted on which object: it goes to users as it stands. */
export class EngineError extends Error {
  readonly kind: ErrorKind;
  readonly exitCode: number | undefined;

  constructor(kind: ErrorKind, message: string, options: EngineErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "EngineError";
    this.kind = kind;
    this.exitCode = options.exitCode;
  }
}

const maker =
  (kind: ErrorKind) =>
  (message: string, cause?: unknown): EngineError =>
    new EngineError(kind, message, { cause });

export const notFound = maker("notFound");
export const invalidArgument = maker("invalidArgument");
export const conflict = maker("conflict");
export const notModified = maker("notModified");
export const unauthorized = maker("unauthorized");
export const permissionDenied = maker("permissionDenied");
export const unavailable = maker("unavailable");
export const notImplemented = maker("notImplemented");
export const cancelled = maker("cancelled");
export const internal = maker("internal");

/** The kind of any thrown value; whatever is no EngineError is `internal`, but for a full disk. */
export function kindOf(error: unknown): ErrorKind {
  if (error instanceof EngineError) return error.kind;
  if (error instanceof DOMException && error.name === "AbortError") return "cancelled";
  if (isDiskFull(error)) return "unavailable";
  return "internal";
}

/** An EngineError with words before its text, which say what was attempted; whatever else is thrown stays as it is. */
export function prefixed(prefix: string, error: unknown): unknown {
  if (!(error instanceof EngineError)) return error;
  return new EngineError(error.kind, prefix + error.message, { cause: error, ...(error.exitCode === undefined ? {} : { exitCode: error.exitCode }) });
}

/** One line of text for any thrown value, never empty. */
export function messageOf(error: unknown): string {
  // thrown where undoing a failure failed as well: the first one is what happened
  if (error instanceof SuppressedError) return `${messageOf(error.suppressed)} (and undoing it: ${messageOf(error.error)})`;
  if (error instanceof Error) return error.message || error.name;
  return String(error);
}
