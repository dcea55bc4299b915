import type { Streams } from "../src/cli/io.ts";

export interface Captured extends Streams {
  stdout(): string;
  stderr(): string;
}

/** Streams of a command line in memory. `columns` makes them a terminal of that width. */
export function captured(options: { stdin?: string; columns?: number } = {}): Captured {
  const texts = { out: "", err: "" };
  const tty = options.columns !== undefined;
  const sink = (name: "out" | "err") => ({
    isTty: tty,
    colours: false,
    columns: () => options.columns ?? 0,
    write: async (data: string | Uint8Array) => {
      texts[name] += typeof data === "string" ? data : Buffer.from(data).toString();
    },
  });
  return {
    out: sink("out"),
    err: sink("err"),
    stdin: { isTty: tty, stream: () => new Blob([options.stdin ?? ""]).stream() as ReadableStream<Uint8Array>, setRaw: () => {} },
    windowSize: () => (options.columns === undefined ? undefined : { rows: 24, columns: options.columns }),
    stdout: () => texts.out,
    stderr: () => texts.err,
  };
}
