/** Where text goes. Writes keep their order; await one before the next much output, for back-pressure. */
export interface Sink {
  write(data: string | Uint8Array): Promise<void>;
  readonly isTty: boolean;
  /** Width of the terminal, 0 where there is none. */
  columns(): number;
  /** Whether escapes for colour may be written: a terminal, and no NO_COLOR. */
  readonly colours: boolean;
}

export interface Source {
  readonly isTty: boolean;
  /** Opens standard input; call it once. */
  stream(): ReadableStream<Uint8Array>;
  /** Raw: each key as it comes, no echo, no signals from keys. Always undo it. */
  setRaw(raw: boolean): void;
}

export interface Streams {
  out: Sink;
  err: Sink;
  stdin: Source;
  /** Rows and columns of the terminal, undefined where there is none. */
  windowSize(): { rows: number; columns: number } | undefined;
}

/** Standard output was closed by its reader (`berth ps | head -1`). */
export class BrokenPipe extends Error {}

interface TtyHandle {
  getWindowSize(size: [number, number]): unknown;
  setRawMode(mode: number): number;
}

interface TtyBinding {
  isTTY(fd: number): boolean;
  TTY: new (fd: number) => TtyHandle;
}

/**
 * Terminals without node:tty: loading it (as process.stdout does) costs 4 to 10 ms of a start that takes 6 in all. The binding below it is
 * there in Bun as in Node. Raw mode 2 is libuv's "io" mode, cfmakeraw, which is what Docker sets.
 */
function ttyBinding(): TtyBinding {
  return (process as unknown as { binding(name: "tty_wrap"): TtyBinding }).binding("tty_wrap");
}

/** The program's own three streams. */
export function processStreams(env: Record<string, string | undefined>): Streams {
  const binding = ttyBinding();
  const handles = new Map<number, TtyHandle>();
  const handle = (fd: number): TtyHandle => {
    const known = handles.get(fd);
    if (known !== undefined) return known;
    const made = new binding.TTY(fd);
    handles.set(fd, made);
    return made;
  };
  const sizeOf = (fd: number): { rows: number; columns: number } | undefined => {
    if (!binding.isTTY(fd)) return undefined;
    const size: [number, number] = [0, 0];
    handle(fd).getWindowSize(size);
    return { columns: size[0], rows: size[1] };
  };
  const stdinIsTty = binding.isTTY(0);
  return {
    out: fileSink(1, Bun.stdout, binding.isTTY(1), () => sizeOf(1)?.columns ?? 0, env),
    err: fileSink(2, Bun.stderr, binding.isTTY(2), () => sizeOf(2)?.columns ?? 0, env),
    stdin: {
      isTty: stdinIsTty,
      stream: () => Bun.stdin.stream() as ReadableStream<Uint8Array>,
      setRaw: (raw) => {
        if (stdinIsTty) handle(0).setRawMode(raw ? 2 : 0);
      },
    },
    windowSize: () => sizeOf(1) ?? sizeOf(0),
  };
}

function fileSink(fd: number, file: Bun.BunFile, isTty: boolean, columns: () => number, env: Record<string, string | undefined>): Sink {
  let tail: Promise<void> = Promise.resolve();
  return {
    isTty,
    columns,
    colours: isTty && !env.NO_COLOR && env.TERM !== "dumb",
    write: (data) => {
      if (data.length === 0) return tail;
      const done = tail.then(async () => {
        try {
          await Bun.write(file, data);
        } catch (error) {
          if ((error as { code?: string }).code === "EPIPE") throw new BrokenPipe(`descriptor ${fd} was closed by its reader`);
          throw error;
        }
      });
      tail = done.catch(() => {});
      return done;
    },
  };
}
