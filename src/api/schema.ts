import { z } from "zod";
import { invalidArgument } from "../lib/errors.ts";

/**
 * Building blocks for bodies as Go's encoding/json reads them: keys match in any case, unknown keys are ignored, null counts as absent.
 * Wrong types are refused by name.
 */
export function object<Shape extends z.ZodRawShape>(shape: Shape) {
  const names = new Map(Object.keys(shape).map((name) => [name.toLowerCase(), name]));
  return z.preprocess((value) => foldKeys(value, names), z.object(shape));
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What is no object stays as it is. @param names by their lower case */
export function foldKeys(value: unknown, names: ReadonlyMap<string, string>): unknown {
  if (!isObject(value)) return value;
  const folded: Record<string, unknown> = {};
  for (const key in value) {
    const name = names.get(key.toLowerCase());
    const field = value[key];
    if (name !== undefined && field !== null) folded[name] = field;
  }
  return folded;
}

export const text = z.string();
export const bool = z.boolean();
/** A double's neighbours of 2^63 are 1024 and more from it. */
const most = 2 ** 63 - 1024;
/**
 * An int64 of Go's. Unlimited values near 2^63 lose their last digits, as they may, but never become more than an int64: one such number in what
 * `GET /containers/json` shows, and no client that is written in Go could list containers.
 */
export const int = z
  .number()
  .refine((n) => Number.isInteger(n) && Math.abs(n) <= 2 ** 63, "expected an integer of 64 bits")
  .transform((n) => Math.min(Math.max(n, -most), most));
export const texts = z.array(text);
/** A map of texts. It may have thousands (labels): z.record copies each key with a result for itself and its value, here nothing is copied. */
export const textMap = z.unknown().transform((value, context) => {
  if (!isObject(value)) {
    context.addIssue({ code: "invalid_type", expected: "record", input: value });
    return {};
  }
  // JSON.parse makes a key of it like any other
  Reflect.deleteProperty(value, "__proto__");
  for (const key in value) if (typeof value[key] !== "string") context.addIssue({ code: "invalid_type", expected: "string", input: value[key], path: [key] });
  return value as Record<string, string>;
});
/** A set, written as a map to empty objects. It may have thousands of members (ports): zod takes ten times as long to look at each. */
export const set = z.unknown().transform((value, context) => {
  const members: Record<string, object> = {};
  if (!isObject(value)) context.addIssue({ code: "invalid_type", expected: "record", input: value });
  else {
    for (const [key, item] of Object.entries(value)) {
      const member = item ?? {};
      if (!isObject(member)) context.addIssue({ code: "invalid_type", expected: "object", input: member, path: [key] });
      else if (key !== "__proto__") members[key] = member;
    }
  }
  return members;
});
/** A command line: a list, or one word as plain text. */
export const words = z.preprocess((value) => (typeof value === "string" ? [value] : value), texts);
/** A list whose null elements are dropped. */
export function list<Item extends z.ZodType>(item: Item) {
  return z.preprocess((value) => (Array.isArray(value) ? value.filter((each) => each !== null) : value), z.array(item));
}
/** A map whose values may be null. */
export function map<Item extends z.ZodType>(item: Item) {
  return z.record(z.string(), item.nullable());
}

/** @throws EngineError invalidArgument naming the first field that doesn't fit */
export function check<Schema extends z.ZodType>(schema: Schema, value: unknown): z.infer<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const path = issue.path.map((part, index) => (typeof part === "number" ? `[${part}]` : index === 0 ? String(part) : `.${String(part)}`)).join("");
  throw invalidArgument(`invalid JSON: ${path === "" ? "request body" : path}: ${issue.message.replace(/^Invalid input: /, "")}`);
}
