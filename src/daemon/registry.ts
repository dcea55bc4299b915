import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { RegistryServeOptions } from "../cli/programs.ts";
import { createContentStore } from "../content/content.ts";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import { createLogger } from "../lib/log.ts";
import { registryMigrations } from "../registry/schema.ts";
import { createRegistryServer } from "../registry/server.ts";
import { openStore } from "../store/store.ts";
import { startCheckpoints } from "../store/checkpoint.ts";

/** `berth registry serve`: a registry on a root of its own, until a signal ends it. Resolves with the exit code. */
export async function serveRegistry(options: RegistryServeOptions): Promise<number> {
  const log = createLogger({ level: () => options.logLevel, write: (line) => void process.stderr.write(line) });
  const { promise: stopped, resolve: stop } = Promise.withResolvers<void>();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => stop());
  try {
    const tls = readTls(options);
    const { host, port } = parseAddress(options.addr);
    mkdirSync(options.root, { recursive: true, mode: 0o700 });
    await using stack = new AsyncDisposableStack();
    const store = stack.use(openStore(join(options.root, "registry.db"), registryMigrations));
    stack.use(startCheckpoints(store, log));
    const content = createContentStore({ root: join(options.root, "content"), store, log });
    await content.restore();
    const server = createRegistryServer({ content, store, log, ...(tls === undefined ? {} : { tls }) });
    const bound = await server.listen({ host, port });
    stack.defer(() => server.close());
    process.stdout.write(
      `Registry on ${tls === undefined ? "http" : "https"}://${bound.host.includes(":") ? `[${bound.host}]` : bound.host}:${bound.port}, its data in ${options.root}\n`,
    );
    await stopped;
    return 0;
  } catch (error) {
    process.stderr.write(`berth: can't serve a registry on ${options.addr}: ${messageOf(error)}\n`);
    return 1;
  }
}

/** `host:port`, `[v6]:port`, `:port` (every address) or `port` alone (loopback). @throws EngineError invalidArgument */
function parseAddress(text: string): { host: string; port: number } {
  const match = /^(?:(?:\[([^\]]+)\]|([^:]*)):)?(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65535) throw invalidArgument("want HOST:PORT");
  const host = match[1] ?? match[2];
  return { host: host === undefined ? "127.0.0.1" : host === "" ? "::" : host, port };
}

function readTls(options: RegistryServeOptions): { cert: string; key: string } | undefined {
  const { tlsCert, tlsKey } = options;
  if (tlsCert === undefined && tlsKey === undefined) return undefined;
  if (tlsCert === undefined || tlsKey === undefined) throw invalidArgument("TLS needs both --tls-cert and --tls-key");
  return { cert: readFileSync(tlsCert, "utf8"), key: readFileSync(tlsKey, "utf8") };
}
