import { constants } from "node:os";
import { raisePriority } from "../kernel/priority.ts";
import { EngineError, messageOf } from "../lib/errors.ts";
import { createLogger, silent, type Logger } from "../lib/log.ts";
import { version } from "../lib/version.ts";
import { WorkerDeath } from "../lib/worker.ts";
import { recordsError } from "../store/damage.ts";
import type { Proxies } from "../system/types.ts";
import { startEngine, type Engine } from "./engine.ts";
import { checkHosts } from "./listen.ts";
import { daemonHelp } from "./flags.ts";
import { niceness } from "./helper-threads.ts";
import { parseDaemonOptions, type DaemonOptions } from "./options.ts";
import { enginePaths } from "./paths.ts";
import { writePidfile } from "./pidfile.ts";
import { takeServiceManager, type ServiceManager } from "./service-manager.ts";
import { checkRemap } from "./userns-remap.ts";

/** `berthd`. Resolves with the exit code once the engine has stopped. */
export async function runDaemon(argv: readonly string[]): Promise<number> {
  let options: DaemonOptions;
  try {
    options = parseDaemonOptions(argv);
    if (options.validate) {
      checkHosts(options);
      checkRemap(options.usernsRemap);
    }
    if (options.validate && options.registry !== "") await (await import("./engine-registry.ts")).checkEngineRegistry(options, silent);
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
  const log = createLogger({
    level: () => (options.debug ? "debug" : options.logLevel),
    format: () => options.logFormat,
    write: (line) => void process.stderr.write(line),
  });
  const proxies = prepareProcess(options, log);
  using manager = takeServiceManager(process.env, process.pid, log);
  const stopped = stopSignal(log);
  let engine: Engine;
  let pidfile: Disposable;
  const { promise: started, resolve: onStarted } = Promise.withResolvers<void>();
  // Each of these signals would kill a process that has no handler for it, also while it starts.
  let dump = started;
  process.on("SIGUSR1", () => (dump = dump.then(() => logState(engine, log))));
  let reload = started;
  process.on("SIGHUP", () => (reload = reload.then(() => reloadSettings({ engine, argv, manager, log }))));
  try {
    pidfile = writePidfile(options.pidfile, process.pid);
    engine = await startEngine(options, proxies, log).catch((error: unknown) => {
      pidfile[Symbol.dispose]();
      throw recordsError(enginePaths(options.dataRoot, options.execRoot).database, error);
    });
  } catch (error) {
    process.stderr.write(`berthd: ${messageOf(error)}\n`);
    if (!(error instanceof EngineError) && error instanceof Error) log.debug("start failed", { stack: error.stack });
    return 1;
  }
  manager.ready("Serving the Engine API");
  onStarted();
  await stopped;
  manager.stopping(engine.stopLimit());
  try {
    await engine.stop();
  } catch (error) {
    log.error("stopping left something undone", { error, stack: error instanceof Error ? error.stack : undefined });
    return 1;
  } finally {
    pidfile[Symbol.dispose]();
  }
  log.info("stopped");
  return 0;
}

/** What holds for the process as a whole. Returns the proxies as the administrator set them, by flag, file or environment. */
function prepareProcess(options: DaemonOptions, log: Logger): Proxies {
  const { env } = process;
  // What turns the executable back into a bare runtime must not reach containers' helpers.
  for (const name of ["BUN_OPTIONS", "BUN_BE_BUN", "NODE_OPTIONS", "NODE_TLS_REJECT_UNAUTHORIZED"]) delete env[name];
  const said = (name: string): string => env[name] || env[name.toLowerCase()] || "";
  const proxies = {
    http: options.httpProxy || said("HTTP_PROXY"),
    https: options.httpsProxy || said("HTTPS_PROXY"),
    no: options.noProxy || said("NO_PROXY"),
  };
  // Bun's fetch would send even loopback through a proxy; Go's, and so dockerd's, never does.
  const direct = [proxies.no, "localhost", "127.0.0.0/8", "::1"].filter(Boolean).join(",");
  // in both spellings: where they differ, Bun goes by the small letters, Go by the capitals
  for (const [name, value] of Object.entries({ HTTP_PROXY: proxies.http, HTTPS_PROXY: proxies.https, NO_PROXY: direct }))
    if (value !== "") env[name] = env[name.toLowerCase()] = value;
  process.umask(0o022);
  try {
    raisePriority(niceness);
  } catch (error) {
    // not without CAP_SYS_NICE: nothing breaks, answers may come later on a busy host
    log.debug("the event loop stays at its priority", { error: messageOf(error) });
  }
  process.on("uncaughtException", (error) => {
    if (error instanceof WorkerDeath) {
      log.error("a thread that the engine can't do without has died: the engine ends, containers run on, and its next start takes them over", { error });
      process.exit(1);
    }
    log.error("uncaught exception; the engine goes on", { error, stack: error.stack });
  });
  process.on("unhandledRejection", (error) =>
    log.error("unhandled rejection; the engine goes on", { error: messageOf(error), stack: error instanceof Error ? error.stack : undefined }),
  );
  return proxies;
}

/** Signals that don't hurry a stop, the one that began it among them; the next one ends the process where it stands. dockerd's number. */
const patience = 3;

/** Resolves at the first SIGTERM or SIGINT. */
function stopSignal(log: Logger): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let received = 0;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      received++;
      log.info(received === 1 ? "stopping" : "already stopping", { signal });
      resolve();
      if (received <= patience) return;
      log.warn("stopping at once, without cleaning up", { signals: received });
      process.exit(128 + constants.signals[signal]);
    });
  }
  return promise;
}

/** SIGHUP. Whatever is wrong with the new settings, the old ones stay as they were. */
async function reloadSettings(deps: { engine: Engine; argv: readonly string[]; manager: ServiceManager; log: Logger }): Promise<void> {
  const { engine, argv, manager, log } = deps;
  manager.reloading();
  try {
    const waiting = await engine.reload(parseDaemonOptions(argv));
    if (waiting.length > 0) log.warn("some changed settings need a restart of the engine", { settings: waiting.join(" ") });
    log.info("settings reloaded");
  } catch (error) {
    log.error("settings not reloaded; the old ones stay", { error: messageOf(error) });
  }
  manager.ready("Serving the Engine API");
}

async function logState(engine: Engine, log: Logger): Promise<void> {
  try {
    log.info("state", await engine.debugState());
  } catch (error) {
    log.error("the engine's state can't be told", { error });
  }
}
