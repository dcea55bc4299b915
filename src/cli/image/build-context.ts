import { lstat, readFile, stat } from "node:fs/promises";
import { isAbsolute, join, relative, resolve } from "node:path";
import { parseIgnore } from "../../lib/ignore.ts";
import { CliError } from "../errors.ts";
import type { Streams } from "../io.ts";
import { packFolder, streamOf } from "./context.ts";

/** Longest Dockerfile read from standard input or from outside the context. */
const maxDockerfile = 16 * 1024 * 1024;

export interface BuildContext {
  /** The tar; undefined where the engine fetches `remote`. */
  tar?: ReadableStream<Uint8Array>;
  remote?: string;
  /** Path of the Dockerfile within the context. */
  dockerfile: string;
}

/**
 * What `berth build PATH` sends: a folder (without what .dockerignore leaves out), a tar or a Dockerfile from standard input (`-`), or a URL that the
 * engine fetches. `-f -` reads the Dockerfile from standard input; one outside the folder is put into the tar. @throws CliError
 */
export async function openContext(io: Streams, source: string, file: string): Promise<BuildContext> {
  if (source === "-") {
    if (file === "-") throw new CliError("invalid argument: can't use stdin for both build context and dockerfile");
    return fromStdin(io, file);
  }
  if (/^(?:https?:\/\/|git:\/\/|git@|github\.com\/)/.test(source)) {
    if (file === "-") throw new CliError("a Dockerfile from stdin can't be combined with a URL as the context");
    return { remote: source, dockerfile: file };
  }
  return fromFolder(io, source, file);
}

async function fromFolder(io: Streams, source: string, file: string): Promise<BuildContext> {
  const root = resolve(source);
  const found = await stat(root).catch(() => undefined);
  if (found === undefined) throw new CliError(`unable to prepare context: path ${JSON.stringify(source)} not found`);
  if (!found.isDirectory()) throw new CliError(`unable to prepare context: ${source} is not a directory`);

  const { dockerfile, extra } = await locateDockerfile(io, root, file);
  const rules = await readIgnore(root, dockerfile);
  const parsed = parseRules(rules);
  // The builder reads both of these itself, whatever the rules say; it then applies the rules to what COPY sees.
  const ignores = (path: string): boolean => path !== ".dockerignore" && path !== dockerfile && parsed.ignores(path);
  // An exception may stand below an ignored folder, and so may the Dockerfile.
  const mayReenter = /^\s*!/m.test(rules) || dockerfile.includes("/");
  return { tar: streamOf(packFolder({ root, ignores, mayReenter, extra })), dockerfile };
}

function parseRules(text: string): { ignores(path: string): boolean } {
  try {
    return parseIgnore(text);
  } catch (error) {
    throw new CliError(`error checking context: ${(error as Error).message}`);
  }
}

/** `Dockerfile.dockerignore` beside a Dockerfile wins over `.dockerignore`. */
async function readIgnore(root: string, dockerfile: string): Promise<string> {
  for (const name of [`${dockerfile}.dockerignore`, ".dockerignore"]) {
    const text = await readFile(join(root, name), "utf8").catch((error: unknown) => {
      if (["ENOENT", "ENOTDIR"].includes((error as { code?: string }).code ?? "")) return undefined;
      throw new CliError(`can't read ${join(root, name)}: ${(error as Error).message}`);
    });
    if (text !== undefined) return text;
  }
  return "";
}

async function locateDockerfile(io: Streams, root: string, file: string): Promise<{ dockerfile: string; extra: { name: string; body: Uint8Array }[] }> {
  const added = (body: Uint8Array): { dockerfile: string; extra: { name: string; body: Uint8Array }[] } => {
    const name = `.dockerfile.${Buffer.from(crypto.getRandomValues(new Uint8Array(10))).toString("hex")}`;
    return { dockerfile: name, extra: [{ name, body }] };
  };
  if (file === "-") return added(await readAll(io.stdin.stream()));
  if (file === "") {
    const exists = async (name: string): Promise<boolean> => (await lstat(join(root, name)).catch(() => undefined)) !== undefined;
    // Docker falls back to the lower-case name, for file systems that lost the case.
    const dockerfile = !(await exists("Dockerfile")) && (await exists("dockerfile")) ? "dockerfile" : "Dockerfile";
    if (!(await exists(dockerfile)))
      throw new CliError(
        `unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat ${join(root, dockerfile)}: no such file or directory`,
      );
    return { dockerfile, extra: [] };
  }
  // -f is relative to where the user stands, or to the context.
  const candidates = isAbsolute(file) ? [file] : [resolve(file), join(root, file)];
  for (const path of candidates) {
    const found = await stat(path).catch(() => undefined);
    if (found === undefined) continue;
    if (!found.isFile()) throw new CliError(`unable to prepare context: ${path} is not a file`);
    const inside = relative(root, path);
    if (!inside.startsWith("..") && !isAbsolute(inside)) return { dockerfile: inside, extra: [] };
    if (found.size > maxDockerfile) throw new CliError(`${path} is too large for a Dockerfile (over 16 MiB)`);
    return added(await readFile(path));
  }
  throw new CliError(`unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat ${resolve(file)}: no such file or directory`);
}

/** Standard input is a tar (plain or compressed) if it looks like one, else a Dockerfile. */
async function fromStdin(io: Streams, file: string): Promise<BuildContext> {
  const reader = io.stdin.stream().getReader();
  const chunks: Uint8Array[] = [];
  let size = 0;
  let ended = false;
  while (size < 512 && !ended) {
    const { done, value } = await reader.read();
    ended = done;
    if (value !== undefined) {
      chunks.push(value);
      size += value.length;
    }
  }
  const head = Buffer.concat(chunks);
  const rest = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    if (head.length > 0) yield head;
    for (let step = ended ? undefined : await reader.read(); step !== undefined && !step.done; step = await reader.read()) yield step.value;
  };
  if (looksLikeArchive(head)) return { tar: streamOf(rest()), dockerfile: file === "" ? "Dockerfile" : file };
  if (file !== "") throw new CliError(`ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles`);
  const { encodeHeader, endOfArchive, padding } = await import("../../lib/tar-writer.ts");
  const body = await readAll(streamOf(rest()));
  const name = "Dockerfile";
  const tar = Buffer.concat([encodeHeader({ name, type: "file", mode: 0o600, size: body.length }), body, padding(body.length), endOfArchive]);
  return { tar: new Blob([tar]).stream() as ReadableStream<Uint8Array>, dockerfile: name };
}

/** By their first bytes: gzip, bzip2, xz, zstd, or ustar's mark. */
export function looksLikeArchive(head: Buffer): boolean {
  const magics = [
    [0x1f, 0x8b],
    [0x42, 0x5a, 0x68],
    [0xfd, 0x37, 0x7a, 0x58, 0x5a],
    [0x28, 0xb5, 0x2f, 0xfd],
  ];
  return magics.some((magic) => magic.every((byte, index) => head[index] === byte)) || head.toString("latin1", 257, 262) === "ustar";
}

async function readAll(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > maxDockerfile) throw new CliError("the Dockerfile from stdin is too large (over 16 MiB)");
  }
  return Buffer.concat(chunks);
}
