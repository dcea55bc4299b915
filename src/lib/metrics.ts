export type Labels = Readonly<Record<string, string>>;

/** Counts of observations by upper bound, in Prometheus' sense. */
export class Histogram {
  /** Upper bounds, rising; above the last one comes +Inf. */
  readonly bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.#counts = new Array<number>(bounds.length + 1).fill(0);
  }

  observe(value: number): void {
    let at = 0;
    while (at < this.bounds.length && value > this.bounds[at]!) at++;
    this.#counts[at]!++;
    this.#sum += value;
  }

  get sum(): number {
    return this.#sum;
  }

  /** For each bound and +Inf: how many were at most that. */
  get cumulative(): number[] {
    let total = 0;
    return this.#counts.map((count) => (total += count));
  }
}

/** Collects samples and writes them in Prometheus' text format 0.0.4. A metric's samples are given at once, since they must stand together. */
export interface Exposition {
  counter(name: string, help: string, samples: Iterable<readonly [Labels, number]>): void;
  gauge(name: string, help: string, samples: Iterable<readonly [Labels, number]>): void;
  histogram(name: string, help: string, samples: Iterable<readonly [Labels, Histogram]>): void;
  text(): string;
}

export const expositionType = "text/plain; version=0.0.4; charset=utf-8";

export function createExposition(): Exposition {
  const parts: string[] = [];
  const header = (name: string, type: string, help: string): void => {
    parts.push(`# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}\n# TYPE ${name} ${type}\n`);
  };
  const line = (name: string, labels: Labels, value: number): void => {
    parts.push(`${name}${labelText(labels)} ${value}\n`);
  };
  const plain =
    (type: string) =>
    (name: string, help: string, samples: Iterable<readonly [Labels, number]>): void => {
      header(name, type, help);
      for (const [labels, value] of samples) line(name, labels, value);
    };
  return {
    counter: plain("counter"),
    gauge: plain("gauge"),
    histogram: (name, help, samples) => {
      header(name, "histogram", help);
      for (const [labels, histogram] of samples) {
        const counts = histogram.cumulative;
        for (const [at, count] of counts.entries())
          line(`${name}_bucket`, { ...labels, le: at < histogram.bounds.length ? String(histogram.bounds[at]) : "+Inf" }, count);
        line(`${name}_sum`, labels, histogram.sum);
        line(`${name}_count`, labels, counts.at(-1)!);
      }
    },
    text: () => parts.join(""),
  };
}

function labelText(labels: Labels): string {
  const texts = Object.entries(labels).map(([name, value]) => `${name}="${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`);
  return texts.length === 0 ? "" : `{${texts.join(",")}}`;
}
