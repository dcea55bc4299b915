import type { ContentStore } from "../content/types.ts";
import { createRegistryClient } from "../distribution/client.ts";
import { invalidArgument } from "../lib/errors.ts";
import type { Exposition } from "../lib/metrics.ts";
import type { Logger } from "../lib/log.ts";
import type { RegistryConfig } from "../registry/config.ts";
import type { Records } from "../registry/records.ts";
import { createRegistryServer } from "../registry/server.ts";
import type { DaemonOptions } from "./options.ts";
import { parseRegistryAddress } from "./registry-address.ts";
import { loadRegistrySettings, readRegistryConfig, readRegistryTls, tokenSecret, upstreamPlaces } from "./registry-settings.ts";

/** The registry of an engine (`berthd --registry`). */
export interface EngineRegistry extends AsyncDisposable {
  /** Reads its settings again; calling what is returned puts them into force. @throws EngineError invalidArgument */
  reload(): Promise<() => void>;
  writeMetrics(out: Exposition): void;
}

/** Its settings; the images lie with the engine's. @throws EngineError invalidArgument */
function readConfig({ registry, registryConfig }: DaemonOptions): RegistryConfig {
  const config = readRegistryConfig(registryConfig === "" ? undefined : registryConfig, { addr: registry });
  for (const name of ["root", "log-level", "metrics-addr"] as const) {
    if (config[name] !== undefined) throw invalidArgument(`${registryConfig}: ${name}: an engine's registry has the engine's own`);
  }
  return config;
}

/** For `--validate`. @throws EngineError invalidArgument */
export async function checkEngineRegistry(options: DaemonOptions, log: Logger): Promise<void> {
  const config = readConfig(options);
  await readRegistryTls(config);
  await loadRegistrySettings(config, new Uint8Array(32), log);
}

/** Serves what `records` name, from the engine's own content: images that both have are stored once. */
export async function serveEngineRegistry(deps: {
  options: DaemonOptions;
  secretPath: string;
  content: ContentStore;
  records: Records;
  log: Logger;
}): Promise<EngineRegistry> {
  const { options, secretPath, content, records, log } = deps;
  const config = readConfig(options);
  const tls = await readRegistryTls(config);
  const secret = tokenSecret(secretPath);
  const settings = await loadRegistrySettings(config, secret, log);
  const client = createRegistryClient({ ...upstreamPlaces(config), log });
  const server = createRegistryServer({ content, records, client, log, settings, ...(tls === undefined ? {} : { tls }) });
  await server.listen(parseRegistryAddress(options.registry));
  return {
    reload: async () => {
      const next = readConfig(options);
      const settings = await loadRegistrySettings(next, secret, log);
      const usePlaces = client.configure(upstreamPlaces(next));
      return () => {
        usePlaces();
        server.configure(settings);
      };
    },
    writeMetrics: server.writeMetrics,
    [Symbol.asyncDispose]: () => server.close(),
  };
}
