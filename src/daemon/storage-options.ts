import { parseBytes } from "../lib/bytes.ts";
import { invalidArgument } from "../lib/errors.ts";

/** Bytes of overlay2.size, the one option that dockerd's driver has; 0: none was given. @throws EngineError invalidArgument */
export function storageSize(options: readonly string[]): number {
  let size = 0;
  for (const option of options) {
    const [, key, value = ""] = /^\s*([^=\s]+)\s*=\s*(.*?)\s*$/.exec(option) ?? [];
    if (key === undefined) throw invalidArgument(`unable to parse storage-opt ${JSON.stringify(option)}: must be formatted 'key=value'`);
    if (key.toLowerCase() !== "overlay2.size") throw invalidArgument(`overlay2: unknown option ${key}`);
    const bytes = parseBytes(value);
    if (bytes === undefined) throw invalidArgument(`${key}: invalid size: '${value}'`);
    size = bytes;
  }
  return size;
}
