import { conflict, internal, messageOf, type EngineError } from "../lib/errors.ts";

/** What umount2(2) said, as a sentence. */
export function unmountError(target: string, error: unknown): EngineError {
  if ((error as { code?: string }).code === "EBUSY") return conflict(`unmounting ${target}: it is in use`, error);
  return internal(`unmounting ${target}: ${messageOf(error)}`, error);
}
