import { existsSync } from "node:fs";
import { closeFd } from "../kernel/fs.ts";
import { makePipe, makeSocketPair, writeFd } from "../kernel/pipe.ts";
import { internal, messageOf, unavailable } from "../lib/errors.ts";
import { hasRoom } from "../lib/disk-room.ts";
import type { Spawner } from "../lib/spawner.ts";
import { startError } from "./oci-errors.ts";
import type { Runtime } from "./types.ts";

export interface MonitorOptions {
  spawner: Spawner;
  /** conmon's program. */
  program: string;
  id: string;
  name: string;
  bundle: string;
  runtime: Runtime;
  /** The program the container runs, for error texts. */
  args: readonly string[];
  exits: string;
  /** The exit code is written there too: it outlives the run root. */
  persist: string;
  /** k8s-file; none where undefined. */
  logPath: string | undefined;
  tty: boolean;
  openStdin: boolean;
  stdinOnce: boolean;
}

export interface Monitor {
  /** conmon's own pid. @throws EngineError as `created` does */
  readonly pid: Promise<number>;
  /** Lets it start the runtime: the bundle is ready. */
  proceed(): void;
  /** Ends it before `proceed`; nothing has been made yet. Never rejects. */
  abandon(): Promise<void>;
  /** SIGKILL, also to one that hangs. The runtime and init live on. */
  kill(): void;
  /** Init's pid, once the runtime has created the container. @throws EngineError; exitCode 126 or 127 where the program can't run */
  readonly created: Promise<number>;
  /** conmon ended: its exit code, or undefined where a signal ended it (the container may live on). Never rejects. */
  readonly exited: Promise<number | undefined>;
}

/** conmon's first line: init's pid, or -1 with the runtime's stderr. */
interface SyncMessage {
  data: number;
  message?: string;
}

/**
 * Starts conmon, which waits for `proceed` and then starts the runtime's `create`: its loading (2.5 ms) runs beside the making of the bundle,
 * of which only the directory must exist. conmon stays our child (--sync), makes its own session and lives on when we die.
 * Its cwd is the bundle, since it writes a file `oom` there.
 */
export function spawnMonitor(options: MonitorOptions): Monitor {
  const { runtime, bundle, id } = options;
  // without the pipe's descriptors (there may be none left) the pair's go too
  using made = new DisposableStack();
  const [syncRead, syncWrite] = makeSocketPair();
  for (const fd of [syncRead, syncWrite]) made.adopt(fd, closeFd);
  const startPipe = makePipe();
  made.move();
  const log = options.logPath === undefined ? "none" : `k8s-file:${options.logPath}`;
  const command = [options.program, "--api-version", "1", "-c", id, "-u", id, "-n", options.name, "-r", runtime.program];
  for (const argument of runtime.globalArguments) command.push(`--runtime-arg=${argument}`);
  command.push("-b", bundle, "-p", `${bundle}/pid`, "--exit-dir", options.exits, "--persist-dir", options.persist, "-l", log);
  command.push("--full-attach", "--no-sync-log", "--sync");
  if (options.tty) command.push("-t");
  if (options.openStdin) command.push("-i");
  if (options.openStdin && !options.stdinOnce) command.push("--leave-stdin-open");
  const child = options.spawner.spawn(command, {
    cwd: bundle,
    // log lines carry the local zone otherwise
    env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", TZ: "UTC", _OCI_SYNCPIPE: "3", _OCI_STARTPIPE: "4", ...runtime.environment },
    stdio: ["ignore", "ignore", "ignore", syncWrite, startPipe.read],
  });
  const pid = child.pid
    .catch((error: unknown) => {
      throw internal(`cannot start the container monitor ${options.program}: ${messageOf(error)}`, error);
    })
    .finally(() => {
      closeFd(syncWrite);
      closeFd(startPipe.read);
    });
  const created = pid.then(
    () => readCreated(syncRead, options),
    (error: unknown) => {
      closeFd(syncRead);
      throw error;
    },
  );
  // who asks does so later
  for (const promise of [pid, created]) promise.catch(() => {});
  const exited = pid.then(
    async () => (await child.exited).exitCode ?? undefined,
    () => undefined,
  );
  return {
    pid,
    proceed: () => {
      try {
        writeFd(startPipe.write, Buffer.of(0));
      } catch (error) {
        // it has ended before its time: `created` tells
        if ((error as { code?: string }).code !== "EPIPE") throw error;
      } finally {
        closeFd(startPipe.write);
      }
    },
    abandon: async () => {
      child.kill("SIGKILL");
      // killed before its pipe is closed: an end of file lets it go on as well
      await exited;
      closeFd(startPipe.write);
    },
    kill: () => child.kill("SIGKILL"),
    created,
    exited,
  };
}

/** What a monitor needs for its files, and what it gave back as it ended is below. */
const LITTLE = { bytes: 64 << 10, files: 8 };

async function readCreated(fd: number, { args, runtime, persist, exits }: MonitorOptions): Promise<number> {
  const line = await readFirstLine(fd);
  let message: SyncMessage;
  try {
    message = JSON.parse(line) as SyncMessage;
  } catch (error) {
    // conmon looks for it before anything else, and tells nobody
    if (!existsSync(runtime.program)) throw internal(`the runtime ${runtime.name} is missing: there is no ${runtime.program}`, error);
    const full = [persist, exits].find((path) => !hasRoom(path, LITTLE));
    if (full !== undefined) throw unavailable(`the container monitor could not write to ${full}: no space left on device`, error);
    throw internal(`the container monitor ended before the container was created${line === "" ? "" : `: ${line.slice(0, 200)}`}`, error);
  }
  if (message.data > 0) return message.data;
  throw startError(message.message ?? "", args);
}

/**
 * conmon writes one line and keeps its end open: reading to the end would wait for the container. `socket` is closed here.
 * A socket rather than a pipe: a stream over a descriptor costs 128 KB of buffers each time (measured, Bun 1.4), which is most of what a start allocates.
 */
async function readFirstLine(socket: number): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const decoder = new TextDecoder();
  let text = "";
  const handlers = {
    data: (_: unknown, chunk: Uint8Array) => {
      text += decoder.decode(chunk, { stream: true });
      if (text.includes("\n") || text.length > 64 << 10) resolve(text);
    },
    end: () => resolve(text),
    close: () => resolve(text),
    error: (_: unknown, error: Error) => reject(error),
  };
  let connection: { terminate(): void };
  try {
    // `fd` works (Bun closes it with the socket) but is missing in Bun's types
    connection = await Bun.connect({ fd: socket, socket: handlers } as unknown as Bun.UnixSocketOptions<undefined>);
  } catch (error) {
    closeFd(socket);
    throw error;
  }
  try {
    return await promise;
  } finally {
    connection.terminate();
  }
}
