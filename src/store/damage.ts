import { messageOf, unavailable } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";

/** A row's document; undefined, and told in the log, where it can't be read: one damaged row must not take the others with it. */
export function parseRecord<T>(text: string, what: string, log: Logger): T | undefined {
  try {
    return JSON.parse(text) as T;
  } catch (error) {
    log.error(`the record of ${what} can't be read; the engine goes on without it`, { error: messageOf(error) });
    return undefined;
  }
}

/** Says of a database that SQLite can't make sense of where it is, and what can be done. Other errors are given back as they are. */
export function recordsError(path: string, error: unknown): unknown {
  if (!/^SQLITE_(CORRUPT|NOTADB)/.test(String((error as { code?: unknown }).code))) return error;
  const text = `the records in ${path} can't be read (${messageOf(error)}): put a copy of that file in its place, or move it away to start with none`;
  return unavailable(text, error);
}
