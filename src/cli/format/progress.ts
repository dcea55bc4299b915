import type { ProgressLine } from "../../client/types.ts";
import { CliError } from "../errors.ts";
import type { Sink, Streams } from "../io.ts";
import { humanSize } from "./human.ts";

/** How often a terminal is redrawn at most, in milliseconds. */
const redrawEvery = 50;

export interface ProgressOptions {
  /** Called with each `aux` value. */
  onAux?: (aux: unknown) => void;
  /** Rows of the terminal, to leave out what has scrolled away. */
  rows?: number;
}

/**
 * Shows a stream of progress: on a terminal one line an id, redrawn in place; elsewhere a line for each change of status, without the bars.
 * @throws CliError with the engine's sentence when the stream reports an error; its exit code is the error's (a build step's), if it has one
 */
export async function showProgress(lines: AsyncIterable<ProgressLine>, sink: Sink, options: ProgressOptions = {}): Promise<void> {
  const screen = sink.isTty ? new Screen(sink, options.rows ?? 0) : undefined;
  try {
    for await (const line of lines) {
      const failure = line.errorDetail?.message ?? line.error;
      if (failure !== undefined) throw new CliError(failure, line.errorDetail?.code || undefined);
      if (line.aux !== undefined) options.onAux?.(line.aux);
      else if (line.stream !== undefined) {
        await screen?.finish();
        await sink.write(sink.colours ? line.stream : withoutRed(line.stream));
      } else if (screen !== undefined) await screen.show(line);
      else if (line.status !== undefined && !hasProgress(line)) await sink.write(`${line.id ? `${line.id}: ` : ""}${line.status}\n`);
    }
  } finally {
    await screen?.finish();
  }
}

/** For commands with an answer of their own, which stays alone on standard output: bars on a terminal, nothing elsewhere. Gives what the `aux` values have. */
export async function showProgressAside<T>(lines: AsyncIterable<ProgressLine>, io: Streams): Promise<Partial<T>> {
  const found: Partial<T> = {};
  const sink = io.err.isTty ? io.err : { ...io.err, write: async () => {} };
  await showProgress(lines, sink, { rows: io.windowSize()?.rows, onAux: (aux) => void Object.assign(found, aux) });
  return found;
}

/** The classic builder writes what a command says on stderr in red, whoever reads it. */
function withoutRed(text: string): string {
  return text.replaceAll("\x1b[91m", "").replaceAll("\x1b[0m", "");
}

function hasProgress({ progressDetail, progress }: ProgressLine): boolean {
  return (progressDetail?.total ?? 0) > 0 || (progressDetail?.current ?? 0) > 0 || (progress ?? "") !== "";
}

/** The block of lines at the bottom of the terminal that belongs to ids still in progress. */
class Screen {
  readonly #sink: Sink;
  readonly #rows: number;
  #texts = new Map<string, string>();
  #dirty = new Set<string>();
  #drawn: string[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(sink: Sink, rows: number) {
    this.#sink = sink;
    this.#rows = rows;
  }

  async show(line: ProgressLine): Promise<void> {
    if (!line.id) {
      await this.finish();
      if (line.status !== undefined) await this.#sink.write(`${line.status}\n`);
      return;
    }
    this.#texts.set(line.id, lineText(line, this.#sink.columns()));
    this.#dirty.add(line.id);
    this.#timer ??= setTimeout(() => void this.#draw().catch(() => {}), redrawEvery);
  }

  /** Draws what is left and starts afresh below it. */
  async finish(): Promise<void> {
    await this.#draw();
    this.#texts = new Map();
    this.#drawn = [];
  }

  async #draw(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    let out = "";
    for (const [id, text] of this.#texts) {
      if (!this.#dirty.has(id)) continue;
      const at = this.#drawn.indexOf(id);
      if (at < 0) {
        this.#drawn.push(id);
        out += `\r${text}\x1b[K\n`;
        continue;
      }
      const up = this.#drawn.length - at;
      // A line that has left the screen can't be reached any more.
      if (this.#rows > 0 && up >= this.#rows) continue;
      out += `\x1b[${up}A\r${text}\x1b[K\x1b[${up}B\r`;
    }
    this.#dirty.clear();
    await this.#sink.write(out);
  }
}

/** `id: Status [===>   ]  1.2MB/3.4MB`, never longer than the terminal is wide (a wrapped line would spoil the redraw). */
export function lineText(line: ProgressLine, columns: number): string {
  const head = `${line.id}: ${line.status ?? ""}`;
  const { current = 0, total = 0, units } = line.progressDetail ?? {};
  if (current <= 0 && total <= 0) return clip(head + (line.progress ? ` ${line.progress}` : ""), columns);
  const amount = (value: number): string => (units === undefined || units === "" ? humanSize(value) : `${value} ${units}`);
  const numbers = total > 0 && current <= total ? `${amount(current).padStart(8)}/${amount(total)}` : amount(current).padStart(8);
  const room = (columns > 0 ? columns : 80) - head.length - numbers.length - 6;
  const width = Math.min(50, room);
  if (total <= 0 || width < 10) return clip(`${head} ${numbers}`, columns);
  const filled = Math.min(width, Math.floor((current / total) * width));
  return clip(`${head} [${"=".repeat(filled)}>${" ".repeat(width - filled)}] ${numbers}`, columns);
}

function clip(text: string, columns: number): string {
  return columns > 0 ? text.slice(0, columns - 1) : text;
}
