import type { ProgressMessage, ProgressSink } from "../images/types.ts";

/** The builder's side of the JSON stream. Clients match these texts and the way they are cut into messages (moby: builder/dockerfile, streamformatter). */
export interface Output {
  /** Passed on as it is. */
  message(message: ProgressMessage): void;
  /** Gives a promise, which never rejects, where the client is slower than we are. */
  text(text: string): Promise<void> | void;
  /** Red in a terminal, as dockerd frames the error output of RUN. Else as `text`. */
  errorText(text: string): Promise<void> | void;
  step(number: number, total: number, code: string): void;
  /** ` ---> 0123456789ab` */
  arrow(text: string): void;
  aux(id: string): void;
  /** Quiet: hands over what was kept, for a build that failed. */
  flush(): void;
}

/** As much as a quiet build keeps of its output, in characters of text. */
const kept = 1 << 20;

export function createOutput(sink: ProgressSink, quiet: boolean): Output {
  const held: ProgressMessage[] = [];
  let size = 0;
  const message = (one: ProgressMessage): Promise<void> | void => {
    if (!quiet) return sink(one);
    held.push(one);
    size += one.stream?.length ?? 64;
    while (size > kept && held.length > 1) size -= held.shift()?.stream?.length ?? 64;
  };
  const text = (stream: string): Promise<void> | void => message({ stream });
  return {
    message: (one) => void message(one),
    text,
    errorText: (chunk) => text(`\u001b[91m${chunk}\u001b[0m`),
    step: (number, total, code) => {
      void text(`Step ${number}/${total} : ${code}`);
      void text("\n");
    },
    arrow: (line) => void text(` ---> ${line}\n`),
    aux: (id) => void message({ aux: { ID: id } }),
    flush: () => {
      for (const one of held.splice(0)) void sink(one);
    },
  };
}
