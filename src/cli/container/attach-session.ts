import type { Client } from "../../client/client.ts";
import type { ContainerInspect } from "../../client/types.ts";
import { CliError } from "../errors.ts";
import type { Streams } from "../io.ts";
import { followWindowSize, forwardSignals, requireTerminal, runSession, type SessionEnd } from "../streaming.ts";

export interface AttachSessionOptions {
  stdin: boolean;
  detachKeys: string;
  sigProxy: boolean;
  /** Starts the container once output and exit are watched; undefined for one that runs already. */
  start?: () => Promise<void>;
}

/** Attaches to a container and stays until it ends or the user detaches. Resolves to its exit code (0 after detaching). */
export async function attachSession(client: Client, io: Streams, container: ContainerInspect, options: AttachSessionOptions): Promise<number> {
  const { Id: id, Config: config } = container;
  const tty = config.Tty === true;
  const stdin = options.stdin && config.OpenStdin === true;
  requireTerminal(io, { tty, stdin });
  const started = Promise.withResolvers<void>();
  started.promise.catch(() => {});
  using _signals = options.sigProxy && !tty ? forwardSignals(started.promise, (signal) => client.containers.kill(id, signal)) : undefined;
  const condition = options.start === undefined ? undefined : container.HostConfig.AutoRemove === true ? "removed" : "next-exit";
  const [waiter, connection] = await Promise.all([
    client.containers.wait(id, condition),
    client.containers.attach(id, { stream: true, stdin, stdout: true, stderr: true, detachKeys: options.detachKeys }),
  ]);
  using held = connection;
  const session: Promise<SessionEnd> = runSession(held, io, { tty, stdin, stdout: true, stderr: true, detachKeys: options.detachKeys });
  session.catch(() => {});
  try {
    await options.start?.();
    started.resolve();
  } catch (error) {
    started.reject(error);
    held[Symbol.dispose]();
    await session.catch(() => {});
    throw error;
  }
  using _size = tty ? followWindowSize(io, (size) => client.containers.resize(id, size)) : undefined;
  if ((await session) === "detached") return 0;
  const { StatusCode: code, Error: failure } = await waiter.result;
  if (failure?.Message) throw new CliError(failure.Message);
  return code;
}
