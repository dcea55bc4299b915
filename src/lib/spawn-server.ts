import { messageOf } from "./errors.ts";
import type { SpawnOptions } from "./spawner.ts";
import type { Asked } from "./worker-calls.ts";

export type SpawnOrder = { id: number } & (({ kind: "spawn"; command: readonly string[] } & SpawnOptions) | { kind: "kill"; signal: NodeJS.Signals });

export type SpawnAnswer = { id: number } & (
  { kind: "started"; pid: number } | { kind: "failed"; message: string } | { kind: "exited"; exitCode: number | null; status: number }
);

declare const self: {
  addEventListener(type: "message", listener: (event: { data: SpawnOrder | Asked<unknown> }) => void): void;
  postMessage(message: SpawnAnswer): void;
};

function start(children: Map<number, Bun.Subprocess>, { id, command, cwd, env, stdio }: Extract<SpawnOrder, { kind: "spawn" }>): void {
  let child: Bun.Subprocess;
  try {
    child = Bun.spawn([...command], { cwd, env, stdio: [...stdio] as never });
  } catch (error) {
    return self.postMessage({ id, kind: "failed", message: messageOf(error) });
  }
  children.set(id, child);
  self.postMessage({ id, kind: "started", pid: child.pid });
  void child.exited.then((status) => {
    children.delete(id);
    self.postMessage({ id, kind: "exited", exitCode: child.exitCode, status });
  });
}

/** The Worker's side of spawner.ts, called once. What is no order is for others. */
export function serveSpawns(): void {
  const children = new Map<number, Bun.Subprocess>();
  self.addEventListener("message", ({ data: order }) => {
    if ("question" in order) return;
    if (order.kind === "spawn") start(children, order);
    else children.get(order.id)?.kill(order.signal);
  });
}
