import { EngineError, kindOf, messageOf, type ErrorKind } from "../lib/errors.ts";
import { BadRequest } from "./http/head.ts";

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
  const kind = kindOf(error);
  // a throw that is no EngineError is our bug, and the log must show it
  return { status: codes[kind], message: messageOf(error), unexpected: kind === "internal" || !(error instanceof EngineError || kind === "cancelled") };
}
