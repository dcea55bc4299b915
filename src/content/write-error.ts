import { isDiskFull } from "../lib/disk-full.ts";
import { type EngineError, internal, messageOf, unavailable } from "../lib/errors.ts";

/** A full disk is the user's to mend, and worth its own sentence. */
export function writeError(what: string, error: unknown): EngineError {
  if (isDiskFull(error)) return unavailable(`${what}: no space left on device`, error);
  return internal(`${what}: ${messageOf(error)}`, error);
}
