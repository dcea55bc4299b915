import type { HijackedConnection } from "../client/hijack.ts";
import { demultiplex } from "../client/streams.ts";
import { CliError } from "./errors.ts";
import type { Streams } from "./io.ts";

/** What ended a session: the other side, or the user's detach keys. */
export type SessionEnd = "closed" | "detached";

export interface SessionOptions {
  /** The container (or exec) has a terminal: raw bytes, one stream. */
  tty: boolean;
  /** Forward standard input. */
  stdin: boolean;
  stdout: boolean;
  stderr: boolean;
  detachKeys?: string;
}

/**
 * Carries bytes between the program's streams and a hijacked connection until the other side closes or the user detaches. With a TTY the terminal
 * is raw meanwhile, and as it was afterwards, whatever happens.
 */
export async function runSession(connection: HijackedConnection, io: Streams, options: SessionOptions): Promise<SessionEnd> {
  const raw = options.tty && options.stdin && io.stdin.isTty;
  const keys = options.tty && options.stdin ? new DetachKeys(options.detachKeys || "ctrl-p,ctrl-q") : undefined;
  const reader = options.stdin ? io.stdin.stream().getReader() : undefined;
  if (raw) io.stdin.setRaw(true);
  try {
    const output = receive(connection, io, options).then(() => "closed" as const);
    if (reader === undefined) return await output;
    const input = send(reader, connection, keys);
    // Input that ends leaves the output to come; only the detach keys end the session from this side.
    return await Promise.race([output, input.then((end) => (end === "detached" ? end : output))]);
  } finally {
    if (raw) io.stdin.setRaw(false);
    reader?.cancel().catch(() => {});
  }
}

async function receive(connection: HijackedConnection, io: Streams, { tty, stdout, stderr }: SessionOptions): Promise<void> {
  if (tty) {
    for await (const chunk of connection.output) if (stdout) await io.out.write(chunk);
    return;
  }
  await demultiplex(connection.output, (stream, payload) => {
    if (stream === 3) throw new CliError(`error from the engine in the stream: ${new TextDecoder().decode(payload)}`);
    if (stream === 2) return stderr ? io.err.write(payload) : undefined;
    return stdout ? io.out.write(payload) : undefined;
  });
}

async function send(
  reader: { read(): Promise<{ done: boolean; value?: Uint8Array }> },
  connection: HijackedConnection,
  keys: DetachKeys | undefined,
): Promise<SessionEnd> {
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const passed = keys === undefined || value === undefined ? (value ?? new Uint8Array()) : keys.feed(value);
      if (passed === "detach") return "detached";
      if (passed.length > 0) await connection.write(passed);
    }
    connection.closeWrite();
  } catch (error) {
    // The other side is gone: its end of the output says so better than a failed write.
    if ((error as { code?: string }).code !== "EPIPE") throw error;
  }
  return "closed";
}

/** Finds the detach sequence in typed bytes; keys that began it but didn't finish go through late, as Docker's do. */
export class DetachKeys {
  readonly #keys: readonly number[];
  #matched = 0;

  /** `ctrl-p,ctrl-q`, `ctrl-@`, or plain characters, by commas. @throws CliError */
  constructor(text: string) {
    this.#keys = text.split(",").map((key) => {
      const control = /^ctrl-([a-zA-Z@[\\\]^_])$/.exec(key)?.[1];
      if (control !== undefined) return control.toUpperCase().charCodeAt(0) & 0x1f;
      if (key.length === 1) return key.charCodeAt(0);
      throw new CliError(`invalid detach keys '${text}': want keys such as ctrl-p,ctrl-q`);
    });
  }

  feed(bytes: Uint8Array): Uint8Array | "detach" {
    const out: number[] = [];
    for (const byte of bytes) {
      if (byte === this.#keys[this.#matched]) {
        this.#matched++;
        if (this.#matched === this.#keys.length) return "detach";
        continue;
      }
      out.push(...this.#keys.slice(0, this.#matched));
      this.#matched = 0;
      if (byte === this.#keys[0] && this.#keys.length > 1) this.#matched = 1;
      else out.push(byte);
    }
    return Uint8Array.from(out);
  }
}

/** Signals a container gets when the command line gets them; the rest are the terminal's or the program's own business. */
const forwarded = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGTERM", "SIGCONT"] as const;

/** Passes signals on to `kill` until disposed. Those that come before `ready` wait for it. */
export function forwardSignals(ready: Promise<unknown>, kill: (signal: string) => Promise<void>): Disposable {
  const listeners = forwarded.map((signal) => {
    const listener = (): void => {
      // A container that has ended already has no use for it.
      ready.then(() => kill(signal)).catch(() => {});
    };
    process.on(signal, listener);
    return [signal, listener] as const;
  });
  return {
    [Symbol.dispose]: () => {
      for (const [signal, listener] of listeners) process.off(signal, listener);
    },
  };
}

/** Keeps a container's terminal as large as ours, from now until disposed. */
export function followWindowSize(io: Streams, resize: (size: { rows: number; columns: number }) => Promise<void>): Disposable {
  const update = (): void => {
    const size = io.windowSize();
    // It may have ended meanwhile; the size of a terminal is never worth an error.
    if (size !== undefined && size.rows > 0) resize(size).catch(() => {});
  };
  update();
  process.on("SIGWINCH", update);
  return { [Symbol.dispose]: () => void process.off("SIGWINCH", update) };
}

/** @throws CliError where a terminal is wanted and there is none */
export function requireTerminal(io: Streams, options: { tty: boolean; stdin: boolean }): void {
  if (options.tty && options.stdin && !io.stdin.isTty) throw new CliError("the input device is not a TTY");
}
