import { mkdir, writeFile } from "node:fs/promises";
import { parseHost } from "../../client/host.ts";
import { defineCommand } from "../command.ts";
import { CliError } from "../errors.ts";
import { csvFields } from "../parse/mounts.ts";
import { checkName, folderOf, readContext, type ContextMeta } from "./store.ts";

export const create = defineCommand({
  name: "context create",
  summary: "Create a context",
  usage: "CONTEXT",
  flags: {
    description: { type: "string", help: "Description of the context" },
    docker: { type: "string", help: "Set the engine's endpoint: host=…,ca=…,cert=…,key=…,skip-tls-verify=…", value: "stringToString" },
    from: { type: "string", help: "Create context from a named context" },
  },
  args: { min: 1, max: 1 },
  async run({ flags, args, io, config }) {
    const name = args[0] as string;
    checkName(name);
    const folder = folderOf(config, name, "meta");
    if (await Bun.file(`${folder}/meta.json`).exists()) throw new CliError(`context ${JSON.stringify(name)} already exists`);
    const base = flags.from === "" || flags.from === "default" ? undefined : await readContext(config, flags.from);
    const given = Object.fromEntries(
      csvFields(flags.docker)
        .filter(Boolean)
        .map((field) => field.split(/=(.*)/s, 2) as [string, string]),
    );
    const unknown = Object.keys(given).find((key) => !["host", "ca", "cert", "key", "skip-tls-verify", "from"].includes(key));
    if (unknown !== undefined) throw new CliError(`unrecognized config key: ${unknown}`);
    const host = given.host ?? base?.host ?? "";
    if (host !== "") parseHost(host);
    const skip = given["skip-tls-verify"] === undefined ? base?.tls?.verify === false : given["skip-tls-verify"] !== "false";
    const meta: ContextMeta = {
      Name: name,
      Metadata: flags.description === "" ? {} : { Description: flags.description },
      Endpoints: { docker: { Host: host, SkipTLSVerify: skip } },
    };
    const pems: [string, string | undefined][] = await Promise.all(
      (["ca", "cert", "key"] as const).map(async (kind): Promise<[string, string | undefined]> => [
        kind,
        given[kind] === undefined ? base?.tls?.[kind] : await readPem(given[kind]),
      ]),
    );
    await mkdir(folder, { recursive: true, mode: 0o755 });
    await writeFile(`${folder}/meta.json`, JSON.stringify(meta));
    for (const [kind, pem] of pems) {
      if (pem === undefined) continue;
      const tls = `${folderOf(config, name, "tls")}/docker`;
      await mkdir(tls, { recursive: true, mode: 0o700 });
      await writeFile(`${tls}/${kind}.pem`, pem, { mode: 0o600 });
    }
    await io.out.write(`${name}\n`);
    await io.err.write(`Successfully created context ${JSON.stringify(name)}\n`);
  },
});

async function readPem(path: string): Promise<string> {
  const file = Bun.file(path);
  if (!(await file.exists())) throw new CliError(`open ${path}: no such file or directory`);
  return file.text();
}
