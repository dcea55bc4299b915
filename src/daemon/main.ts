import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { EngineError, messageOf } from "../lib/errors.ts";
import { createLogger, type Logger } from "../lib/log.ts";
import { version } from "../lib/version.ts";
import { startEngine } from "./engine.ts";
import { daemonHelp, parseDaemonOptions, type DaemonOptions } from "./options.ts";

/** `berthd`. Resolves with the exit code once the engine has stopped. */
export async function runDaemon(argv: readonly string[]): Promise<number> {
  let options: DaemonOptions;
  try {
    options = parseDaemonOptions(argv);
  } catch (error) {
    process.stderr.write(`berthd: ${messageOf(error)}\n`);
    return 1;
  }
  if (options.help) {
    process.stdout.write(daemonHelp());
    return 0;
  }
  if (options.version) {
    process.stdout.write(`Berth version ${version}\n`);
    return 0;
  }
  if (options.validate) {
    process.stdout.write("configuration OK\n");
    return 0;
  }
  if (process.getuid?.() !== 0) {
    process.stderr.write("berthd: root is needed: containers are made of mounts, namespaces, cgroups and firewall rules. Start it with sudo.\n");
    return 1;
  }
  return await serve(options, argv);
}

async function serve(options: DaemonOptions, argv: readonly string[]): Promise<number> {
  const log = createLogger({ level: () => (options.debug ? "debug" : options.logLevel), write: (line) => void process.stderr.write(line) });
  // What turns the executable back into a bare runtime must not reach containers' helpers.
  for (const name of ["BUN_OPTIONS", "BUN_BE_BUN", "NODE_OPTIONS", "NODE_TLS_REJECT_UNAUTHORIZED"]) delete process.env[name];
  // Bun's fetch would send even loopback through a proxy; Go's, and so dockerd's, never does.
  process.env["NO_PROXY"] = [process.env["NO_PROXY"] ?? process.env["no_proxy"] ?? "", "localhost", "127.0.0.0/8", "::1"].filter(Boolean).join(",");
  process.umask(0o022);
  process.on("uncaughtException", (error) => log.error("uncaught exception; the engine goes on", { error, stack: error.stack }));
  process.on("unhandledRejection", (error) =>
    log.error("unhandled rejection; the engine goes on", { error: messageOf(error), stack: error instanceof Error ? error.stack : undefined }),
  );

  const { promise: stopped, resolve: stop } = Promise.withResolvers<void>();
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      log.info("stopping", { signal });
      stop();
    });
  }
  let engine;
  try {
    engine = await startEngine(options, log);
    mkdirSync(dirname(options.pidfile), { recursive: true });
    writeFileSync(options.pidfile, `${process.pid}\n`);
  } catch (error) {
    process.stderr.write(`berthd: ${messageOf(error)}\n`);
    if (!(error instanceof EngineError) && error instanceof Error) log.debug("start failed", { stack: error.stack });
    return 1;
  }
  // without a handler this signal would kill the engine; dockerd dumps its goroutines
  process.on("SIGUSR1", () => void logState(log));
  process.on("SIGHUP", () => {
    try {
      const reloaded = parseDaemonOptions(argv);
      options.debug = reloaded.debug;
      options.logLevel = reloaded.logLevel;
      engine.reloaded();
      log.info("settings reloaded");
    } catch (error) {
      log.error("settings not reloaded; the old ones stay", { error });
    }
  });
  await stopped;
  rmSync(options.pidfile, { force: true });
  try {
    await engine.stop();
  } catch (error) {
    log.error("stopping left something undone", { error, stack: error instanceof Error ? error.stack : undefined });
    return 1;
  }
  log.info("stopped");
  return 0;
}

/** One walk over the heap, which stops the engine for some milliseconds. */
async function logState(log: Logger): Promise<void> {
  const { objectTypeCounts, heapSize, heapCapacity } = (await import("bun:jsc")).heapStats();
  log.info("state", { memory: process.memoryUsage(), heap: largest(objectTypeCounts), heapSize, heapCapacity });
}

/** The ten commonest kinds. */
function largest(counts: Record<string, number>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(counts)
      .sort((a, b) => b[1] - a[1])
      .slice(0, 10),
  );
}
