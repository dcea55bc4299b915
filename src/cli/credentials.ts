import type { AuthConfig } from "../client/types.ts";
import { parseReference } from "../oci/reference.ts";
import type { CliConfig, ConfigFile } from "./config.ts";
import { CliError } from "./errors.ts";
import type { Sink } from "./io.ts";

/** Docker Hub's key in config.json, for history's sake a URL. */
export const hubServer = "https://index.docker.io/v1/";

/** The key of an image's registry in config.json. */
export function serverOf(image: string): string {
  const { domain } = parseReference(image);
  return domain === "docker.io" ? hubServer : domain;
}

/** `https://host/v1/` and `host` name the same registry. */
export function hostOf(server: string): string {
  return server.replace(/^https?:\/\//, "").split("/", 1)[0] as string;
}

/** Credentials for a registry: from its helper, else from config.json. Undefined where there are none. */
export async function readCredentials(config: CliConfig, server: string): Promise<AuthConfig | undefined> {
  const file = await config.file();
  const helper = helperFor(file, server);
  if (helper !== undefined) {
    const found = await fromHelper(helper, server);
    if (found !== undefined) return found;
  }
  const auths = file.auths ?? {};
  const key = Object.hasOwn(auths, server) ? server : Object.keys(auths).find((one) => hostOf(one) === hostOf(server));
  return key === undefined ? undefined : decoded({ ...auths[key], serveraddress: server });
}

/**
 * As readCredentials, but a helper that is missing or fails keeps nobody from what needs no password, as with Docker's command: it is told, and none are sent.
 */
export async function credentialsOrNone(config: CliConfig, server: string, err: Sink): Promise<AuthConfig | undefined> {
  try {
    return await readCredentials(config, server);
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    await err.write(`WARNING: ${error.message}; going on without credentials for ${server}\n`);
    return undefined;
  }
}

/** Credentials of every registry in config.json, for a build's base images. */
export async function allCredentials(config: CliConfig, err: Sink): Promise<Record<string, AuthConfig>> {
  const file = await config.file();
  const servers = new Set([...Object.keys(file.auths ?? {}), ...Object.keys(file.credHelpers ?? {})]);
  const entries = await Promise.all([...servers].map(async (server) => [server, await credentialsOrNone(config, server, err)] as const));
  return Object.fromEntries(entries.filter((entry): entry is readonly [string, AuthConfig] => entry[1] !== undefined));
}

/** Keeps credentials with the helper where one is set, else in config.json. Resolves to where they went. */
export async function storeCredentials(config: CliConfig, auth: AuthConfig & { serveraddress: string }): Promise<"helper" | "file"> {
  const helper = helperFor(await config.file(), auth.serveraddress);
  const secret = auth.identitytoken ?? auth.password ?? "";
  if (helper !== undefined) {
    const username = auth.identitytoken === undefined ? (auth.username ?? "") : "<token>";
    await callHelper(helper, "store", JSON.stringify({ ServerURL: auth.serveraddress, Username: username, Secret: secret }));
  }
  await config.save((file) => {
    const entry: AuthConfig = {};
    if (helper === undefined) {
      entry.auth = Buffer.from(`${auth.username ?? ""}:${auth.password ?? ""}`).toString("base64");
      if (auth.identitytoken !== undefined) entry.identitytoken = auth.identitytoken;
    }
    file.auths = { ...file.auths, [auth.serveraddress]: entry };
  });
  return helper === undefined ? "file" : "helper";
}

/** Resolves to whether there was something to erase. */
export async function eraseCredentials(config: CliConfig, server: string): Promise<boolean> {
  const file = await config.file();
  const helper = helperFor(file, server);
  const keys = Object.keys(file.auths ?? {}).filter((key) => key === server || hostOf(key) === hostOf(server));
  if (helper !== undefined) await callHelper(helper, "erase", server);
  if (keys.length > 0) {
    await config.save((written) => {
      for (const key of keys) delete written.auths?.[key];
    });
  }
  return keys.length > 0 || helper !== undefined;
}

function helperFor(file: ConfigFile, server: string): string | undefined {
  return file.credHelpers?.[server] ?? file.credHelpers?.[hostOf(server)] ?? (file.credsStore || undefined);
}

function decoded(entry: AuthConfig): AuthConfig {
  if (entry.auth === undefined || entry.auth === "") return entry;
  const text = Buffer.from(entry.auth, "base64").toString();
  const colon = text.indexOf(":");
  if (colon < 0) throw new CliError("invalid auth configuration file: an auth entry is no base64 of name:password");
  const { auth: _, ...rest } = entry;
  return { ...rest, username: text.slice(0, colon), password: text.slice(colon + 1).replace(/\0+$/, "") };
}

async function fromHelper(helper: string, server: string): Promise<AuthConfig | undefined> {
  const answer = await callHelper(helper, "get", server);
  if (answer === undefined) return undefined;
  const { Username: username = "", Secret: secret = "" } = JSON.parse(answer) as { Username?: string; Secret?: string };
  return username === "<token>" ? { identitytoken: secret, serveraddress: server } : { username, password: secret, serveraddress: server };
}

/** Runs `docker-credential-NAME VERB` (the credential helpers' protocol). Undefined where it knows no credentials. @throws CliError */
async function callHelper(helper: string, verb: "get" | "store" | "erase", input: string): Promise<string | undefined> {
  const program = `docker-credential-${helper}`;
  if (!/^[\w.-]+$/.test(helper)) throw new CliError(`invalid credential helper name ${JSON.stringify(helper)}`);
  let child;
  try {
    child = Bun.spawn([program, verb], { stdin: Buffer.from(input), stdout: "pipe", stderr: "pipe", env: process.env });
  } catch {
    throw new CliError(`error getting credentials: ${program} is not on the PATH`);
  }
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code === 0) return out;
  const text = (out + err).trim();
  // The protocol has no code for "none here": helpers say it in this sentence.
  if (/credentials not found/i.test(text)) return undefined;
  throw new CliError(`error ${verb === "get" ? "getting" : verb === "store" ? "saving" : "erasing"} credentials: ${program}: ${text || `exit code ${code}`}`);
}
