import { closeFd, O, readFd, statAt, S } from "../kernel/fs.ts";
import { invalidArgument } from "../lib/errors.ts";
import { bytesOf, cleanParts } from "../lib/tar.ts";
import { openArchive } from "../snapshots/archive.ts";
import { extractTar, removeAt } from "../snapshots/extract.ts";
import { parseIgnore } from "../lib/ignore.ts";
import { Root } from "../snapshots/root.ts";

/** Longer ones aren't Dockerfiles. */
const longestDockerfile = 16 << 20;

/**
 * Unpacks a build context and reads its Dockerfile. Clients leave out what .dockerignore names, but always send the Dockerfile and .dockerignore;
 * these two are taken out here where they are ignored, as dockerd does. Returns the Dockerfile's text. @throws EngineError invalidArgument
 */
export async function unpackContext(directory: string, stream: ReadableStream<Uint8Array>, dockerfile: string): Promise<string> {
  using root = new Root(directory);
  await extractTar(root, await openArchive(stream), { destination: "", owner: { uid: 0, gid: 0 } });
  let name = dockerfile;
  let text = readText(root, name);
  // A client on a case-insensitive system may have sent `dockerfile`.
  if (text === undefined && name === "Dockerfile") text = readText(root, (name = "dockerfile"));
  if (text === undefined) throw invalidArgument(`Cannot locate specified Dockerfile: ${dockerfile}`);
  if (text === "") throw invalidArgument(`the Dockerfile (${dockerfile}) cannot be empty`);
  const ignore = readText(root, ".dockerignore");
  if (ignore !== undefined) removeIgnored(root, ignore, [".dockerignore", name]);
  return text;
}

function removeIgnored(root: Root, ignore: string, names: readonly string[]): void {
  let rules;
  try {
    rules = parseIgnore(ignore);
  } catch (error) {
    throw invalidArgument((error as Error).message, error);
  }
  for (const name of names) {
    const path = cleanParts(name)?.join("/");
    if (path !== undefined && rules.ignores(path)) removeAt(root, bytesOf(path));
  }
}

/** Undefined where it isn't there. Symlinks are followed, within the context. */
function readText(root: Root, name: string): string | undefined {
  const parts = cleanParts(bytesOf(name));
  if (parts === undefined) throw invalidArgument(`forbidden path outside the build context: ${name} ()`);
  const path = parts.join("/");
  const found = root.open(path, O.PATH);
  if (found === undefined) return undefined;
  const stat = statAt(found, "");
  closeFd(found);
  // A fifo or device is never opened: it could block, or act.
  if (stat === undefined || (stat.mode & S.IFMT) !== S.IFREG) throw invalidArgument(`${name} in the build context is no regular file`);
  if (stat.size > longestDockerfile) throw invalidArgument(`${name} in the build context is longer than ${longestDockerfile} bytes`);
  const fd = root.open(path, O.RDONLY | O.NONBLOCK);
  if (fd === undefined) return undefined;
  try {
    const buffer = Buffer.alloc(stat.size);
    let length = 0;
    while (length < buffer.length) {
      const count = readFd(fd, buffer.subarray(length));
      if (count === 0) break;
      length += count;
    }
    return buffer.toString("utf8", 0, length);
  } finally {
    closeFd(fd);
  }
}
