import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Socket } from "bun";
import type { SshHost } from "./host.ts";

/** A socket that leads to an engine beyond ssh. */
export interface Tunnel {
  path: string;
  /** What ssh, or the command at the other end, said when a connection broke off before anything came. */
  failure(): string | undefined;
}

/** The end of what ssh says, for errors. */
const mostSaid = 4096;

/**
 * The arguments of ssh, as docker's command line has them (docker/cli, cli/connhelper). At the other end `berth system dial-stdio` or docker's connects to the
 * engine: whichever program is there.
 */
export function sshCommand({ user, hostname, port, path }: SshHost): string[] {
  const dial = path === undefined ? "system dial-stdio" : `--host unix://${path} system dial-stdio`;
  const remote = `sh -c 'if command -v berth >/dev/null 2>&1; then exec berth ${dial}; else exec docker ${dial}; fi'`;
  const where = [...(user === undefined ? [] : ["-l", user]), ...(port === undefined ? [] : ["-p", String(port)])];
  return ["ssh", "-o", "ConnectTimeout=30", "-T", ...where, "--", hostname, remote];
}

/**
 * Listens on a socket that only this user can reach, until the program ends; each connection to it is one of ssh. (fetch takes a socket's path and no pair of
 * pipes.)
 */
export function openTunnel(host: SshHost): Tunnel {
  const folder = mkdtempSync(join(tmpdir(), "berth-ssh-"));
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  process.once("exit", remove);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.once(signal, () => {
      remove();
      // whoever listens too decides what becomes of it; else it is as if nobody had listened
      if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
    });
  let failure: string | undefined;
  const links = new WeakMap<Socket, Link>();
  const path = join(folder, "engine");
  Bun.listen({
    unix: path,
    allowHalfOpen: true,
    socket: {
      open: (socket) => void links.set(socket, new Link(socket, host, (text) => (failure = text))),
      data: (socket, chunk) => links.get(socket)?.send(chunk),
      drain: (socket) => links.get(socket)?.drained(),
      end: (socket) => links.get(socket)?.endOfInput(),
      close: (socket) => links.get(socket)?.closed(),
      error: (socket) => links.get(socket)?.closed(),
    },
  }).unref();
  return { path, failure: () => failure };
}

/** One connection and its ssh. */
class Link {
  readonly #socket: Socket;
  readonly #child: Bun.Subprocess<"pipe", "pipe", "pipe">;
  #drained: () => void = () => {};
  #isClosed = false;

  constructor(socket: Socket, host: SshHost, tell: (failure: string) => void) {
    this.#socket = socket;
    // In a session of its own, as docker does it: ctrl-C is for this program, which may want to tell the engine.
    this.#child = Bun.spawn(sshCommand(host), { stdin: "pipe", stdout: "pipe", stderr: "pipe", detached: true });
    this.#receive(tell).catch((error: unknown) => tell(String(error)));
  }

  send(chunk: Uint8Array): void {
    // The chunk's memory is the socket's own.
    const flushed = this.#pass(new Uint8Array(chunk));
    if (flushed === undefined) return;
    this.#socket.pause();
    void flushed.finally(() => this.#socket.resume());
  }

  /** To ssh; undefined where it has taken all. An ssh that has ended takes nothing: its end says more than that does. */
  #pass(chunk: Uint8Array): Promise<unknown> | undefined {
    try {
      const written = this.#child.stdin.write(chunk);
      const flushed = this.#child.stdin.flush();
      const pending = [written, flushed].filter((each) => (each as unknown) instanceof Promise);
      return pending.length === 0 ? undefined : Promise.allSettled(pending);
    } catch {
      return undefined;
    }
  }

  drained(): void {
    this.#drained();
  }

  endOfInput(): void {
    try {
      Promise.resolve(this.#child.stdin.end()).catch(() => {});
    } catch {
      // it has ended
    }
  }

  closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#drained();
    this.#child.kill();
  }

  async #receive(tell: (failure: string) => void): Promise<void> {
    const said = new Response(this.#child.stderr).text();
    let came = false;
    for await (const chunk of this.#child.stdout as unknown as AsyncIterable<Uint8Array>) {
      came = true;
      for (let rest = chunk; rest.length > 0 && !this.#isClosed;) {
        const sent = this.#socket.write(rest);
        if (sent < 0) break;
        rest = rest.subarray(sent);
        if (rest.length > 0) await new Promise<void>((resolve) => (this.#drained = resolve));
      }
    }
    const code = await this.#child.exited;
    const text = (await said).trim().slice(-mostSaid);
    if (!came && !this.#isClosed) tell(text || `ssh ended with exit code ${code}`);
    this.#socket.end();
  }
}
