import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { O } from "../kernel/fs.ts";
import { openInRoot } from "../kernel/inroot.ts";
import { invalidArgument } from "../lib/errors.ts";

/**
 * Text of a file as seen from inside `root`: no symlink leads out. Undefined where there is none, or it is no regular file (an image may
 * hold a device or a fifo there). @throws EngineError invalidArgument where it is longer than `longest` bytes
 */
export function readInside(root: string, path: string, longest: number): string | undefined {
  let found: number;
  try {
    found = openInRoot(root, path, O.PATH);
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "ELOOP"].includes((error as { code: string }).code)) return undefined;
    throw error;
  }
  try {
    const stat = fstatSync(found);
    if (!stat.isFile()) return undefined;
    if (stat.size > longest) throw invalidArgument(`${path} of the container is longer than ${longest} bytes`);
    return readAtMost(`/proc/self/fd/${found}`, stat.size);
  } finally {
    closeSync(found);
  }
}

/** A running container may lengthen the file meanwhile, without end. */
function readAtMost(path: string, size: number): string {
  const fd = openSync(path, "r");
  try {
    const buffer = Buffer.alloc(size);
    let length = 0;
    while (length < size) {
      const count = readSync(fd, buffer, length, size - length, null);
      if (count === 0) break;
      length += count;
    }
    return buffer.toString("utf8", 0, length);
  } finally {
    closeSync(fd);
  }
}
