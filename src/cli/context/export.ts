import { tarOf, type TarHeaderInit } from "../../lib/tar-writer.ts";
import { defineCommand } from "../command.ts";
import { CliError } from "../errors.ts";
import { readContext } from "./store.ts";

/** Docker's own format (docker/cli, context/store): `docker context import` reads it, too. */
export const exportContext = defineCommand({
  name: "context export",
  summary: "Export a context to a tar archive FILE, or to standard output with FILE -",
  usage: "CONTEXT [FILE|-]",
  flags: {},
  args: { min: 1, max: 2 },
  async run({ args, io, config }) {
    const [name, path = `${name}.dockercontext`] = args as [string, string?];
    const { meta, tls } = await readContext(config, name);
    const entries: (TarHeaderInit & { body?: string })[] = [
      { name: "meta.json", type: "file", mode: 0o644, body: JSON.stringify(meta) },
      { name: "tls", type: "directory", mode: 0o700 },
    ];
    const pems = (["ca", "cert", "key"] as const).flatMap((kind) => (tls?.[kind] === undefined ? [] : [{ kind, body: tls[kind] }]));
    if (pems.length > 0) entries.push({ name: "tls/docker", type: "directory", mode: 0o700 });
    for (const { kind, body } of pems) entries.push({ name: `tls/docker/${kind}.pem`, type: "file", mode: 0o600, body });
    const archive = tarOf(entries);
    if (path === "-") {
      if (io.out.isTty) throw new CliError("cowardly refusing to export to a terminal, specify a file path");
      await io.out.write(archive);
      return;
    }
    const { writeFile } = await import("node:fs/promises");
    await writeFile(path, archive, { flag: "wx", mode: 0o600 }).catch((error: unknown) => {
      throw new CliError(`context ${JSON.stringify(name)} can't be exported: ${(error as Error).message}`);
    });
    await io.err.write(`Written file ${JSON.stringify(path)}\n`);
  },
});
