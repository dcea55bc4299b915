import { BuildArgs } from "../build/args.ts";
import { evaluate, type StageState } from "../build/evaluate.ts";
import type { Instruction } from "../build/instructions.ts";
import { parseInstruction } from "../build/parse.ts";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import type { ImageRunConfig } from "../oci/image.ts";

/** Instructions that change an image's configuration alone: what `commit` and `import` take. */
const allowed: ReadonlySet<string> = new Set<Instruction["kind"]>([
  "cmd",
  "entrypoint",
  "env",
  "expose",
  "healthcheck",
  "label",
  "onbuild",
  "stopsignal",
  "user",
  "volume",
  "workdir",
]);

/** `config` after the Dockerfile instructions `changes`, one or more a text. @throws EngineError invalidArgument */
export function applyChanges(config: ImageRunConfig, changes: readonly string[]): ImageRunConfig {
  let state: StageState = { config, author: "", cmdSet: false, args: BuildArgs.create({}, {}) };
  for (const line of changes.flatMap((change) => change.split("\n"))) {
    if (line.trim() === "") continue;
    try {
      const [word = ""] = line.trim().split(/\s/, 1);
      if (!allowed.has(word.toLowerCase())) throw new Error(`${word} is not a valid change command`);
      state = evaluate(state, parseInstruction(line), "\\").state;
    } catch (error) {
      throw invalidArgument(`invalid change ${JSON.stringify(line)}: ${messageOf(error)}`, error);
    }
  }
  return state.config;
}
