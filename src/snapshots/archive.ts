import { decompressed, peek } from "../lib/compression.ts";
import { invalidArgument, unavailable } from "../lib/errors.ts";
import { TarParser } from "../lib/tar-reader.ts";

/** Programs for what Bun can't decompress: Docker's clients may send either, and root file systems for ADD often come as xz. */
const programs: { magic: number[]; name: string; command: string[] }[] = [
  { magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], name: "xz", command: ["xz", "--decompress", "--stdout", "--memlimit-decompress=512MiB"] },
  { magic: [0x42, 0x5a, 0x68], name: "bzip2", command: ["bzip2", "--decompress", "--stdout"] },
];

/** The bytes of an archive that may be gzip, zstd, xz or bzip2 compressed, told by its first bytes. */
export async function openArchive(source: ReadableStream<Uint8Array>): Promise<ReadableStream<Uint8Array>> {
  return (await decompressed(await withoutRareCompression(source))).stream;
}

/** The plain bytes of what is xz or bzip2 compressed, told by its first bytes; anything else as it is, gzip and zstd too. @throws EngineError unavailable where the program is missing */
export async function withoutRareCompression(source: ReadableStream<Uint8Array>): Promise<ReadableStream<Uint8Array>> {
  const { first, rest } = await peek(source);
  const program = programFor(first);
  return program === undefined ? rest : through(program, rest);
}

/** Whether the first bytes of a file are those of xz or bzip2. */
export const hasRareCompression = (first: Uint8Array): boolean => programFor(first) !== undefined;

const programFor = (first: Uint8Array): (typeof programs)[number] | undefined =>
  programs.find(({ magic }) => magic.every((byte, index) => first[index] === byte));

function through({ name, command }: { name: string; command: string[] }, source: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  if (Bun.which(command[0] as string) === null)
    throw unavailable(`the archive is ${name} compressed, and the program ${command[0]} isn't installed on this host`);
  const child = Bun.spawn(command, { stdin: source, stdout: "pipe", stderr: "ignore", env: { PATH: process.env["PATH"] ?? "", LC_ALL: "C" } });
  const reader = (child.stdout as ReadableStream<Uint8Array>).getReader();
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const { done, value } = await reader.read();
        if (!done) return controller.enqueue(value);
        const code = await child.exited;
        if (code === 0) controller.close();
        else controller.error(invalidArgument(`damaged ${name} data`));
      },
      cancel: () => child.kill(),
    },
    { highWaterMark: 0 },
  );
}

/** Whether ADD unpacks this file: it is an archive that begins with a good tar header, compressed or not. */
export async function isArchive(source: ReadableStream<Uint8Array>): Promise<boolean> {
  let found = false;
  const parser = new TarParser({ entry: () => (found = true), data: () => {}, hole: () => {}, end: () => {} });
  let stream: ReadableStream<Uint8Array> | undefined;
  try {
    stream = await openArchive(source);
    // Long PAX records may stand before the first entry; the parser bounds them.
    for await (const chunk of stream) {
      for (let at = 0; at < chunk.length && !found; at += 512) parser.push(chunk.subarray(at, at + 512));
      if (found || parser.ended) break;
    }
  } catch {
    return false; // whatever can't be read as an archive is a file like any other
  }
  return found;
}
