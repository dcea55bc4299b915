import { z } from "zod";
import { foldKeys, isObject } from "../schema.ts";

export interface PortBindingWish {
  HostIp?: string | undefined;
  HostPort?: string | undefined;
}

const fields = new Map([
  ["hostip", "HostIp"],
  ["hostport", "HostPort"],
]);

/** Ports with their bindings, as `map(list(object(…)))` would read them: of the thousands that there may be it would take five times as long for each. */
export const portBindings = z.unknown().transform((value, context) => {
  const result: Record<string, PortBindingWish[] | null> = {};
  const wrong = (expected: "record" | "array" | "object" | "string", input: unknown, ...path: (string | number)[]): void =>
    context.addIssue({ code: "invalid_type", expected, input, path });
  if (!isObject(value)) {
    wrong("record", value);
    return result;
  }
  for (const port in value) {
    const given = value[port];
    if (port === "__proto__") continue;
    if (given === null) result[port] = null;
    else if (!Array.isArray(given)) wrong("array", given, port);
    else {
      const bindings = given.filter((each) => each !== null);
      result[port] = bindings.map((binding: unknown, index) => {
        const read = foldKeys(binding, fields);
        if (!isObject(read)) wrong("object", binding, port, index);
        else for (const name in read) if (typeof read[name] !== "string") wrong("string", read[name], port, index, name);
        return read as PortBindingWish;
      });
    }
  }
  return result;
});
