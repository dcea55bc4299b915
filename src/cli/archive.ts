import { CliError } from "./errors.ts";
import type { Streams } from "./io.ts";

/**
 * Writes what the engine sends to a file, or to standard output where `path` is empty. The file takes its name only when it is complete.
 * @throws CliError when the output would go to a terminal
 */
export async function writeArchive(io: Streams, path: string, request: () => Promise<Response>): Promise<void> {
  if (path === "" && io.out.isTty) throw new CliError("cowardly refusing to save to a terminal. Use the -o flag or redirect");
  if (path === "") {
    const { body } = await request();
    if (body !== null) for await (const chunk of body) await io.out.write(chunk);
    return;
  }
  const { open, rename, rm, stat } = await import("node:fs/promises");
  const { dirname } = await import("node:path");
  const folder = await stat(dirname(path)).catch(() => undefined);
  if (folder === undefined || !folder.isDirectory()) throw new CliError(`invalid output path: directory ${JSON.stringify(dirname(path))} does not exist`);
  const existing = await stat(path).catch(() => undefined);
  if (existing?.isDirectory()) throw new CliError(`invalid output path: ${JSON.stringify(path)} is a directory`);
  const { body } = await request();
  // Devices and pipes are written in place.
  const inPlace = existing !== undefined && !existing.isFile();
  const temporary = inPlace ? path : `${path}.${process.pid}.tmp`;
  const file = await open(temporary, "w", 0o600);
  try {
    if (body !== null) {
      for await (const chunk of body) {
        for (let rest = chunk as Uint8Array; rest.length > 0;) rest = rest.subarray((await file.write(rest)).bytesWritten);
      }
    }
    await file.close();
    if (!inPlace) await rename(temporary, path);
  } catch (error) {
    await file.close().catch(() => {});
    if (!inPlace) await rm(temporary, { force: true });
    throw error;
  }
}

/** A tar from a file, or from standard input where `path` is empty or `-`. @throws CliError */
export async function openArchive(io: Streams, path: string): Promise<ReadableStream<Uint8Array>> {
  if (path === "" || path === "-") {
    if (io.stdin.isTty) throw new CliError("requested load from stdin, but stdin is empty");
    return io.stdin.stream();
  }
  const file = Bun.file(path);
  const found = await file.stat().catch(() => undefined);
  if (found === undefined) throw new CliError(`open ${path}: no such file or directory`);
  if (found.isDirectory()) throw new CliError(`read ${path}: is a directory`);
  return file.stream() as ReadableStream<Uint8Array>;
}
