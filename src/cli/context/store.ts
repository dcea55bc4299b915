import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import type { ClientTls } from "../../client/host.ts";
import type { CliConfig } from "../config.ts";
import { CliError } from "../errors.ts";

/** A context as Docker keeps it: `contexts/meta/<sha256 of its name>/meta.json`, its certificates in `contexts/tls/<the same>/docker/`. */
export interface StoredContext {
  name: string;
  description: string;
  host?: string;
  tls?: ClientTls;
  /** The file as it stands. */
  meta: ContextMeta;
}

export interface ContextMeta {
  Name: string;
  Metadata?: { Description?: string; [key: string]: unknown };
  Endpoints?: Record<string, { Host?: string; SkipTLSVerify?: boolean } | undefined>;
}

/** What a name may be (docker/cli, context/store). */
const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$/;

export function folderOf(config: CliConfig, name: string, kind: "meta" | "tls"): string {
  return `${config.directory}/contexts/${kind}/${new Bun.CryptoHasher("sha256").update(name).digest("hex")}`;
}

/** @throws CliError for a name that can't be one */
export function checkName(name: string): void {
  if (name === "default") throw new CliError('context name "default" is reserved');
  if (!namePattern.test(name))
    throw new CliError(`context name ${JSON.stringify(name)} is invalid, names are validated against regexp "${namePattern.source}"`);
}

/** @throws CliError for a name that can't be one, or that a context has */
export async function checkNewName(config: CliConfig, name: string): Promise<void> {
  checkName(name);
  if (await Bun.file(`${folderOf(config, name, "meta")}/meta.json`).exists()) throw new CliError(`context ${JSON.stringify(name)} already exists`);
}

/** Whether there is a context of this name; `default` is none of those. */
export async function hasContext(config: CliConfig, name: string): Promise<boolean> {
  return namePattern.test(name) && (await Bun.file(`${folderOf(config, name, "meta")}/meta.json`).exists());
}

/** Makes or replaces a context. `pems` are the certificates for its engine, which only their owner may read. */
export async function writeContext(config: CliConfig, meta: ContextMeta, pems: { ca?: string; cert?: string; key?: string }): Promise<void> {
  const folder = folderOf(config, meta.Name, "meta");
  const tls = `${folderOf(config, meta.Name, "tls")}/docker`;
  await rm(tls, { recursive: true, force: true });
  for (const [kind, pem] of Object.entries(pems)) {
    await mkdir(tls, { recursive: true, mode: 0o700 });
    await writeFile(`${tls}/${kind}.pem`, pem, { mode: 0o600 });
  }
  await mkdir(folder, { recursive: true, mode: 0o755 });
  await writeFile(`${folder}/meta.json`, JSON.stringify(meta));
}

/** @throws CliError where there is no such context */
export async function readContext(config: CliConfig, name: string): Promise<StoredContext> {
  const folder = folderOf(config, name, "meta");
  let meta: ContextMeta;
  try {
    meta = (await Bun.file(`${folder}/meta.json`).json()) as ContextMeta;
  } catch (error) {
    if ((error as { code?: string }).code !== "ENOENT") throw new CliError(`context ${JSON.stringify(name)} can't be read: ${(error as Error).message}`);
    throw new CliError(`context ${JSON.stringify(name)}: context not found: ${folder}/meta.json: no such file or directory`);
  }
  const endpoint = meta.Endpoints?.docker;
  const tlsFolder = `${folderOf(config, name, "tls")}/docker`;
  const read = async (file: string): Promise<string | undefined> => {
    const pem = Bun.file(`${tlsFolder}/${file}`);
    return (await pem.exists()) ? pem.text() : undefined;
  };
  const [ca, cert, key] = await Promise.all([read("ca.pem"), read("cert.pem"), read("key.pem")]);
  const usesTls = ca !== undefined || cert !== undefined || endpoint?.SkipTLSVerify === true;
  return {
    name,
    description: meta.Metadata?.Description ?? "",
    host: endpoint?.Host || undefined,
    ...(usesTls ? { tls: { ca, cert, key, verify: endpoint?.SkipTLSVerify !== true } } : {}),
    meta,
  };
}

/** All but `default`, by name. */
export async function listContexts(config: CliConfig): Promise<StoredContext[]> {
  const root = `${config.directory}/contexts/meta`;
  let folders: string[];
  try {
    folders = await readdir(root);
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return [];
    throw error;
  }
  const names = await Promise.all(folders.map(async (folder) => ((await Bun.file(`${root}/${folder}/meta.json`).json()) as ContextMeta).Name));
  return Promise.all(names.sort().map((name) => readContext(config, name)));
}

/** The context in use, as resolveEndpoint picks it (but for -H and -c). */
export async function currentContext(config: CliConfig, env: Record<string, string | undefined>): Promise<string> {
  if (env.BERTH_HOST || env.DOCKER_HOST) return "default";
  return env.DOCKER_CONTEXT || (await config.file()).currentContext || "default";
}
