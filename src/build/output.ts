import type { ProgressMessage, ProgressSink } from "../images/types.ts";

/** The builder's side of the JSON stream. Clients match these texts and the way they are cut into messages (moby: builder/dockerfile, streamformatter). */
export interface Output {
  /** Passed on as it is. */
  message(message: ProgressMessage): void;
  text(text: string): void;
  /** Red in a terminal, as dockerd frames the error output of RUN. */
  errorText(text: string): void;
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
  const message = (one: ProgressMessage): void => {
    if (!quiet) return sink(one);
    held.push(one);
    size += one.stream?.length ?? 64;
    while (size > kept && held.length > 1) size -= held.shift()?.stream?.length ?? 64;
  };
  const text = (stream: string): void => message({ stream });
  return {
    message,
    text,
    errorText: (chunk) => text(`\u001b[91m${chunk}\u001b[0m`),
    step: (number, total, code) => {
      text(`Step ${number}/${total} : ${code}`);
      text("\n");
    },
    arrow: (line) => text(` ---> ${line}\n`),
    aux: (id) => message({ aux: { ID: id } }),
    flush: () => {
      for (const one of held.splice(0)) sink(one);
    },
  };
}
