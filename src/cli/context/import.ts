import { messageOf } from "../../lib/errors.ts";
import { readTar } from "../../lib/tar-reader.ts";
import { openArchive } from "../archive.ts";
import { defineCommand } from "../command.ts";
import { CliError } from "../errors.ts";
import type { Endpoint } from "./endpoint.ts";
import { checkNewName, writeContext, type ContextMeta } from "./store.ts";

/** Docker's bound, of the whole archive. */
const largest = 10 << 20;
const pemNames: Record<string, keyof Endpoint["pems"]> = { "tls/docker/ca.pem": "ca", "tls/docker/cert.pem": "cert", "tls/docker/key.pem": "key" };

/** What `context export` wrote, ours or Docker's. Nothing is written before all of it is read. */
export const importContext = defineCommand({
  name: "context import",
  summary: "Import a context from a tar archive, or from standard input with -",
  usage: "CONTEXT FILE|-",
  flags: {},
  args: { min: 2, max: 2 },
  async run({ args, io, config }) {
    const [name, path] = args as [string, string];
    await checkNewName(config, name);
    const { meta, pems } = await read(await openArchive(io, path), path);
    await writeContext(config, { ...meta, Name: name }, pems);
    await io.out.write(`${name}\n`);
    await io.err.write(`Successfully imported context ${JSON.stringify(name)}\n`);
  },
});

async function read(archive: AsyncIterable<Uint8Array>, path: string): Promise<{ meta: ContextMeta; pems: Endpoint["pems"] }> {
  const bad = (why: string): CliError => new CliError(`${path === "-" ? "standard input" : path} holds no context: ${why}`);
  let bytes = 0;
  const bounded = async function* (): AsyncGenerator<Uint8Array> {
    for await (const chunk of archive) {
      bytes += chunk.length;
      if (bytes > largest) throw bad(`it is larger than the ${largest} bytes allowed`);
      yield chunk;
    }
  };
  let meta: ContextMeta | undefined;
  const pems: Endpoint["pems"] = {};
  try {
    for await (const { header, body } of readTar(bounded())) {
      if (header.type !== "file") continue;
      const text = Buffer.concat(await Array.fromAsync(body)).toString("utf8");
      const pem = Object.hasOwn(pemNames, header.name) ? pemNames[header.name] : undefined;
      if (header.name === "meta.json") meta = JSON.parse(text) as ContextMeta;
      else if (pem !== undefined) pems[pem] = text;
      else throw bad(`unexpected file ${JSON.stringify(header.name)}`);
    }
  } catch (error) {
    throw error instanceof CliError ? error : bad(messageOf(error));
  }
  if (typeof meta?.Name !== "string") throw bad("it has no meta.json with a name");
  return { meta, pems };
}
