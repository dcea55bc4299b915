import type { SpawnAnswer, SpawnOrder } from "./spawn-server.ts";
import type { Answered } from "./worker-calls.ts";
import type { WorkerHandle } from "./worker.ts";

/** A descriptor of this process, or /dev/null. */
export type ChildStdio = number | "ignore";

export interface SpawnOptions {
  cwd: string;
  env: Readonly<Record<string, string>>;
  /** The child's descriptors from 0 on. They stay the caller's, who may close them once `pid` has settled. */
  stdio: readonly ChildStdio[];
}

export interface Child {
  /** @throws Error where the program can't be started */
  readonly pid: Promise<number>;
  /** How it ended, its exit code being null where a signal ended it; `status` is a shell's (128 and the signal). Never rejects, nor resolves where it never ran. */
  readonly exited: Promise<ChildExit>;
  /** Reaches the child or nobody, however long ago it ended. */
  kill(signal: NodeJS.Signals): void;
}

export interface ChildExit {
  exitCode: number | null;
  status: number;
}

/** Starts processes without holding up the event loop. */
export interface Spawner {
  spawn(command: readonly string[], options: SpawnOptions): Child;
}

interface Waiting {
  pid: PromiseWithResolvers<number>;
  exited: PromiseWithResolvers<ChildExit>;
}

/**
 * In a Worker: vfork(2) suspends the thread that calls it until the child has got a processor and has replaced its program, 20 ms and more on a busy
 * machine (measured, Linux 6.18). Costs 0.1 ms more than a start from here. `worker` calls serveSpawns of spawn-server.ts, and may answer others, too.
 */
export function createSpawner(worker: WorkerHandle<SpawnOrder, SpawnAnswer | Answered<unknown>>): Spawner {
  const children = new Map<number, Waiting>();
  let next = 0;
  worker.onMessage((answer) => {
    if (!("kind" in answer)) return;
    const child = children.get(answer.id);
    if (answer.kind === "started") return child?.pid.resolve(answer.pid);
    children.delete(answer.id);
    if (answer.kind === "failed") child?.pid.reject(new Error(answer.message));
    else child?.exited.resolve({ exitCode: answer.exitCode, status: answer.status });
  });
  return {
    spawn(command, options) {
      const id = next++;
      const child: Waiting = { pid: Promise.withResolvers(), exited: Promise.withResolvers() };
      children.set(id, child);
      worker.post({ kind: "spawn", id, command, ...options });
      return { pid: child.pid.promise, exited: child.exited.promise, kill: (signal) => worker.post({ kind: "kill", id, signal }) };
    },
  };
}
