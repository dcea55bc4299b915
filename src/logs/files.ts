import { open, readdir, stat, type FileHandle } from "node:fs/promises";
import { basename, dirname } from "node:path";

/** One file of a log, held open: a rotation renames it, and it stays the same. Disposing it again is no error. */
export interface OpenFile extends AsyncDisposable {
  readonly handle: FileHandle;
  readonly inode: number;
}

async function openFile(path: string): Promise<OpenFile | undefined> {
  let handle: FileHandle;
  try {
    handle = await open(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  const { ino } = await handle.stat();
  let closed: Promise<void> | undefined;
  return { handle, inode: ino, [Symbol.asyncDispose]: () => (closed ??= handle.close()) };
}

/** Numbers of the rotated files that are there, oldest (highest) first. */
export async function rotatedNumbers(logPath: string): Promise<number[]> {
  const prefix = `${basename(logPath)}.`;
  const names = await readdir(dirname(logPath)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [] as string[];
    throw error;
  });
  return names
    .filter((name) => name.startsWith(prefix) && /^\d{1,6}$/.test(name.slice(prefix.length)))
    .map((name) => Number(name.slice(prefix.length)))
    .sort((a, b) => b - a);
}

/** All files of a log, oldest first. A rotation while they are opened shows as a file that is met twice: then it's done again. */
export async function openAll(logPath: string): Promise<OpenFile[]> {
  for (;;) {
    const files: OpenFile[] = [];
    const before = await rotatedNumbers(logPath);
    for (const number of before) {
      const file = await openFile(`${logPath}.${number}`);
      if (file !== undefined) files.push(file);
    }
    const current = await openFile(logPath);
    if (current !== undefined) files.push(current);
    const after = await rotatedNumbers(logPath);
    if (String(before) === String(after) && new Set(files.map((file) => file.inode)).size === files.length) return files;
    for (const file of files) await file[Symbol.asyncDispose]();
  }
}

/** The file written after the one with `inode`, if there is one yet. Where that one has been dropped already, or none was read: the oldest there is. */
export async function openNext(logPath: string, inode: number | undefined): Promise<OpenFile | undefined> {
  const current = await stat(logPath).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  // Still the same, or renamed and not yet made anew.
  if (current === undefined || current.ino === inode) return undefined;
  const files = await openAll(logPath);
  const at = files.findIndex((file) => file.inode === inode);
  const next = files[at + 1];
  for (const file of files) if (file !== next) await file[Symbol.asyncDispose]();
  return next;
}
