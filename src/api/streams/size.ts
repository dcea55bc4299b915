import { invalidArgument } from "../../lib/errors.ts";
import type { Query } from "../query.ts";

/** One side of a terminal. @throws EngineError invalidArgument */
export function size(query: Query, name: string, what: string): number {
  const text = query.text(name);
  if (!/^\d{1,10}$/.test(text)) throw invalidArgument(`invalid resize ${what} ${JSON.stringify(text)}: invalid syntax`);
  if (Number(text) > 0xffff) throw invalidArgument(`invalid resize ${what} ${JSON.stringify(text)}: value out of range`);
  return Number(text);
}
