import { createClient, type Client } from "../client/client.ts";
import { defaultHost, parseHost, type ClientTls } from "../client/host.ts";
import type { CliConfig } from "./config.ts";
import { CliError } from "./errors.ts";
import type { FlagValues } from "./flags.ts";
import type { globalFlags } from "./globals.ts";

export interface Endpoint {
  host: string;
  tls?: ClientTls;
  /** Name of the context it came from: `default` for flags and environment. */
  context: string;
}

type Env = Record<string, string | undefined>;

/**
 * Which engine: -H, then -c, then BERTH_HOST or DOCKER_HOST, then DOCKER_CONTEXT, then config.json's currentContext, then Berth's own socket.
 * Docker's socket is never taken unasked: with both engines on a host that would be a surprise.
 */
export async function resolveEndpoint(flags: FlagValues<typeof globalFlags>, env: Env, config: CliConfig): Promise<Endpoint> {
  const [host, another] = flags.host;
  if (another !== undefined) throw new CliError("specify only one -H");
  if (host !== undefined && flags.context !== "") throw new CliError("conflicting options: cannot specify both --host and --context");
  const chosen = host ?? (flags.context === "" ? env.BERTH_HOST || env.DOCKER_HOST : undefined);
  if (chosen) return { host: chosen, tls: await tlsFromFlags(flags, env, config), context: "default" };
  const context = flags.context || env.DOCKER_CONTEXT || (await config.file()).currentContext || "default";
  if (context === "default") return { host: defaultHost, tls: await tlsFromFlags(flags, env, config), context };
  const { readContext } = await import("./context/store.ts");
  const found = await readContext(config, context);
  return { host: found.host ?? defaultHost, tls: found.tls, context };
}

export async function connect(flags: FlagValues<typeof globalFlags>, env: Env, config: CliConfig): Promise<Client> {
  return await clientOf(await resolveEndpoint(flags, env, config), env, config);
}

/** A client of any engine, with what the environment and config.json say for all of them. */
export async function clientOf(endpoint: Pick<Endpoint, "host" | "tls">, env: Env, config: CliConfig): Promise<Client> {
  const version = env.DOCKER_API_VERSION || undefined;
  // config.json is read only for its headers here; most have none, and one read costs less than 0.2 ms.
  const { HttpHeaders: headers } = await config.file();
  return createClient({ host: parseHost(endpoint.host, endpoint.tls !== undefined), tls: endpoint.tls, version, headers, userAgent: "Berth-Client (linux)" });
}

async function tlsFromFlags(flags: FlagValues<typeof globalFlags>, env: Env, config: CliConfig): Promise<ClientTls | undefined> {
  const verify = flags.tlsverify || Boolean(env.DOCKER_TLS_VERIFY);
  if (!verify && !flags.tls) return undefined;
  const folder = env.DOCKER_CERT_PATH || config.directory;
  const read = async (flag: string, name: string): Promise<string | undefined> => {
    const file = Bun.file(flag || `${folder}/${name}`);
    if (await file.exists()) return file.text();
    if (flag !== "") throw new CliError(`unable to load TLS file ${flag}: no such file`);
    return undefined;
  };
  return { verify, ca: await read(flags.tlscacert, "ca.pem"), cert: await read(flags.tlscert, "cert.pem"), key: await read(flags.tlskey, "key.pem") };
}
