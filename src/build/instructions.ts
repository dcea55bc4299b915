import type { HealthConfig } from "../oci/image.ts";
import type { Heredoc } from "./lines.ts";

interface Base {
  /** In the Dockerfile, from 1. */
  line: number;
  /** As written, continuation lines joined: what `Step 1/3 : …` shows. */
  code: string;
}

export interface KeyValue {
  key: string;
  value: string;
}

/** RUN, CMD and ENTRYPOINT: JSON form as given, shell form as one text (none where nothing follows). */
export interface CommandLine {
  form: "json" | "shell";
  words: string[];
}

export interface CopyInstruction extends Base {
  kind: "copy" | "add";
  sources: string[];
  /** Contents given in the Dockerfile itself, copied after `sources`. */
  inline: Heredoc[];
  destination: string;
  /** Stage name, stage index or image. */
  from?: string;
  chown?: string;
  /** As written: octal, after expansion. */
  chmod?: string;
  /** `sha256:…` of a file fetched by ADD. */
  checksum?: string;
}

export interface RunInstruction extends Base {
  kind: "run";
  command: CommandLine;
  heredocs: Heredoc[];
}

/** One instruction of a stage. Words are as written: expansion needs the stage's environment, and comes in evaluate.ts. */
export type Instruction =
  | CopyInstruction
  | RunInstruction
  | (Base & { kind: "cmd" | "entrypoint"; command: CommandLine })
  | (Base & { kind: "env"; pairs: KeyValue[] })
  /** `literal`: from `--label`, nothing is expanded. */
  | (Base & { kind: "label"; pairs: KeyValue[]; literal: boolean })
  | (Base & { kind: "maintainer"; name: string })
  | (Base & { kind: "expose"; ports: string[] })
  | (Base & { kind: "volume"; paths: string[] })
  | (Base & { kind: "user"; user: string })
  | (Base & { kind: "workdir"; path: string })
  | (Base & { kind: "arg"; args: { key: string; value?: string }[] })
  | (Base & { kind: "onbuild"; expression: string })
  | (Base & { kind: "stopsignal"; signal: string })
  | (Base & { kind: "healthcheck"; health: HealthConfig })
  | (Base & { kind: "shell"; shell: string[] });

export type ArgInstruction = Extract<Instruction, { kind: "arg" }>;

/** `FROM` and what follows it. */
export interface Stage extends Base {
  base: string;
  /** In lower case. */
  name?: string;
  platform?: string;
  instructions: Instruction[];
}

export interface Dockerfile {
  /** ARG before the first FROM. */
  metaArgs: ArgInstruction[];
  stages: Stage[];
  escape: string;
  warnings: string[];
}
