import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import type { RegistryServeOptions } from "../cli/programs.ts";
import { createContentStore } from "../content/content.ts";
import { createRegistryClient } from "../distribution/client.ts";
import { tryLock } from "../kernel/lock.ts";
import { conflict, messageOf } from "../lib/errors.ts";
import { createLogger, type Logger } from "../lib/log.ts";
import type { RegistryConfig } from "../registry/config.ts";
import { createRecords } from "../registry/records.ts";
import { restoreRecords } from "../registry/restore.ts";
import { registryMigrations } from "../registry/schema.ts";
import { createRegistryServer } from "../registry/server.ts";
import { startCheckpoints } from "../store/checkpoint.ts";
import { openStore } from "../store/store.ts";
import { parseMetricsAddress } from "./check-options.ts";
import { createScrape, serveMetrics } from "./metrics.ts";
import { parseRegistryAddress } from "./registry-address.ts";
import { loadRegistrySettings, readRegistryConfig, readRegistryTls, tokenSecret, upstreamPlaces } from "./registry-settings.ts";

/** `berth registry serve`: a registry on a root of its own, until a signal ends it. Resolves with the exit code. */
export async function serveRegistry(options: RegistryServeOptions): Promise<number> {
  let config: RegistryConfig;
  const log = createLogger({ level: () => config["log-level"] ?? "info", write: (line) => void process.stderr.write(line) });
  try {
    config = readRegistryConfig(options.config, options.settings);
    if (!options.validate) return await run(config, log, () => (config = readRegistryConfig(options.config, options.settings)));
    parseRegistryAddress(addressOf(config));
    if (config["metrics-addr"] !== undefined) parseMetricsAddress(config["metrics-addr"]);
    await readRegistryTls(config);
    await loadRegistrySettings(config, new Uint8Array(32), log);
    process.stdout.write("configuration OK\n");
    return 0;
  } catch (error) {
    process.stderr.write(`berth: can't serve a registry: ${messageOf(error)}\n`);
    return 1;
  }
}

const addressOf = ({ addr = "127.0.0.1:5000" }: RegistryConfig): string => addr;

/** `readAgain` gives the settings as they are at a SIGHUP. */
async function run(config: RegistryConfig, log: Logger, readAgain: () => RegistryConfig): Promise<number> {
  const { promise: stopped, resolve: stop } = Promise.withResolvers<void>();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => stop());
  const tls = await readRegistryTls(config);
  const address = parseRegistryAddress(addressOf(config));
  const root = config.root ?? "/var/lib/berth-registry";
  mkdirSync(root, { recursive: true, mode: 0o700 });
  await using stack = new AsyncDisposableStack();
  stack.use(lockRoot(root));
  const secret = tokenSecret(join(root, "token-secret"));
  const settings = await loadRegistrySettings(config, secret, log);
  const store = stack.use(openStore(join(root, "registry.db"), registryMigrations));
  stack.use(startCheckpoints(store, log));
  const content = createContentStore({ root: join(root, "content"), store, log });
  await content.restore();
  const records = createRecords(store, content);
  await restoreRecords(content, records, log);
  await content.collect(content.list().map(({ digest }) => digest));
  const client = createRegistryClient({ ...upstreamPlaces(config), log });
  const server = createRegistryServer({ content, records, client, log, settings, ...(tls === undefined ? {} : { tls }) });
  const bound = await server.listen(address);
  stack.defer(() => server.close());
  const metrics = config["metrics-addr"];
  if (metrics !== undefined) stack.use(await serveMetrics(metrics, createScrape(server.writeMetrics), log));
  process.on("SIGHUP", () => {
    const reload = async (): Promise<void> => {
      const next = readAgain();
      const settings = await loadRegistrySettings(next, secret, log);
      client.configure(upstreamPlaces(next))();
      server.configure(settings);
    };
    reload().then(
      () => log.info("settings reloaded"),
      (error: unknown) => log.error("settings not reloaded; the old ones stay", { error }),
    );
  });
  const host = bound.host.includes(":") ? `[${bound.host}]` : bound.host;
  process.stdout.write(`Registry on ${tls === undefined ? "http" : "https"}://${host}:${bound.port}, its data in ${root}\n`);
  await stopped;
  return 0;
}

/** Opening the content deletes unfinished uploads: those of another registry, too. @throws EngineError conflict */
function lockRoot(root: string): Disposable {
  const fd = openSync(join(root, "lock"), "a", 0o600);
  if (!tryLock(fd)) {
    closeSync(fd);
    throw conflict(`another registry already uses ${root}`);
  }
  return { [Symbol.dispose]: () => closeSync(fd) };
}
