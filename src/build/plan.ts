import type { Platform } from "../oci/image.ts";
import { parsePlatform } from "../oci/platform.ts";
import { BuildArgs, platformArgs } from "./args.ts";
import { expandText } from "./expand.ts";
import type { ArgInstruction, Dockerfile, Instruction, Stage } from "./instructions.ts";
import { DockerfileError } from "./lines.ts";

/** Where a stage's file system, or the files of a COPY, come from. */
export type Source = { kind: "scratch" } | { kind: "stage"; index: number } | { kind: "image"; reference: string; platform?: Platform };

export interface PlannedStep {
  instruction: Instruction;
  /** COPY --from. */
  from?: Source;
}

/** A node of the graph: its edges are `base` and the `from` of its steps, and point to stages before it. */
export interface PlannedStage {
  index: number;
  stage: Stage;
  base: Source;
  steps: PlannedStep[];
}

/** What is to be built: the Dockerfile with everything resolved that needs neither images nor files. */
export interface Plan {
  metaArgs: ArgInstruction[];
  stages: PlannedStage[];
  /** Index of each named stage. */
  names: ReadonlyMap<string, number>;
  args: BuildArgs;
  escape: string;
  warnings: string[];
  /** Steps in all, as `Step 1/n` counts them. */
  total: number;
  target: Platform;
  /** As asked for; undefined: whatever is here will do. */
  platform?: Platform;
}

export interface PlanOptions {
  buildArgs: Readonly<Record<string, string | null>>;
  labels: Readonly<Record<string, string>>;
  target?: string;
  platform?: Platform;
  host: Platform;
}

/** Dockerfile to graph. @throws DockerfileError, Error with Docker's text */
export function planBuild(dockerfile: Dockerfile, options: PlanOptions): Plan {
  const { escape, metaArgs } = dockerfile;
  const target = options.platform ?? options.host;
  const args = BuildArgs.create(options.buildArgs, platformArgs(options.host, target));
  for (const instruction of metaArgs) {
    for (const { key, value } of instruction.args) {
      const expanded = value === undefined ? undefined : at(instruction, () => expandText(value, args.metaVariables(), { escape }));
      args.declareMeta(key, expanded);
    }
  }
  const chosen = withLabels(cutAtTarget(dockerfile.stages, options.target), options.labels);
  if (chosen.length === 0) throw new Error("No image was generated. Is your Dockerfile empty?");
  const names = new Map<string, number>();
  const stages = chosen.map((stage, index): PlannedStage => {
    if (stage.name !== undefined && names.has(stage.name)) throw new DockerfileError(stage.line, `${stage.name} stage name already used`);
    const planned = {
      index,
      stage,
      base: at(stage, () => resolveBase(stage, names, args, { escape, platform: options.platform })),
      steps: stage.instructions.map((instruction) => ({ instruction, from: at(instruction, () => resolveFrom(instruction, names, index, options.platform)) })),
    };
    if (stage.name !== undefined) names.set(stage.name, index);
    return planned;
  });
  const total = stages.reduce((sum, stage) => sum + 1 + stage.steps.length, metaArgs.length);
  return { metaArgs, stages, names, args, escape, warnings: dockerfile.warnings, total, target, platform: options.platform };
}

/** One more instruction in stage `index`: an ONBUILD trigger of its base. @throws Error */
export function planStep(plan: Plan, instruction: Instruction, index: number): PlannedStep {
  const before = new Map([...plan.names].filter(([, stage]) => stage < index));
  return { instruction, from: resolveFrom(instruction, before, index, plan.platform) };
}

function at<T>(place: { line: number }, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof DockerfileError) throw error;
    throw new DockerfileError(place.line, (error as Error).message);
  }
}

function cutAtTarget(stages: readonly Stage[], target: string | undefined): Stage[] {
  if (target === undefined || target === "") return [...stages];
  const wanted = target.toLowerCase();
  let index = stages.findIndex((stage) => stage.name === wanted);
  if (index === -1 && /^\d+$/.test(wanted) && Number(wanted) < stages.length) index = Number(wanted);
  if (index === -1) throw new Error(`target stage "${target}" could not be found`);
  return stages.slice(0, index + 1);
}

/** `--label` works as LABEL instructions at the end of the last stage. */
function withLabels(stages: Stage[], labels: Readonly<Record<string, string>>): Stage[] {
  const last = stages.at(-1);
  if (last === undefined) return stages;
  const added = Object.keys(labels)
    .sort()
    .map((key): Instruction => {
      const value = labels[key] as string;
      return { kind: "label", line: last.line, code: `LABEL ${key}=${value}`, pairs: [{ key, value }], literal: true };
    });
  return [...stages.slice(0, -1), { ...last, instructions: [...last.instructions, ...added] }];
}

function resolveBase(stage: Stage, names: ReadonlyMap<string, number>, args: BuildArgs, options: { escape: string; platform?: Platform }): Source {
  const variables = args.metaVariables();
  const name = expandText(stage.base, variables, options);
  if (name === "") throw new Error(`base name (${stage.base}) should not be blank`);
  const index = names.get(name.toLowerCase());
  if (index !== undefined) return { kind: "stage", index };
  if (name === "scratch") return { kind: "scratch" };
  const written = stage.platform === undefined ? "" : expandText(stage.platform, variables, options);
  return { kind: "image", reference: name, platform: written === "" ? options.platform : parsePlatform(written) };
}

function resolveFrom(instruction: Instruction, names: ReadonlyMap<string, number>, current: number, platform: Platform | undefined): Source | undefined {
  if (instruction.kind !== "copy" || instruction.from === undefined || instruction.from === "") return undefined;
  const named = names.get(instruction.from.toLowerCase());
  if (named !== undefined) return { kind: "stage", index: named };
  if (!/^\d+$/.test(instruction.from)) return { kind: "image", reference: instruction.from, platform };
  const index = Number(instruction.from);
  if (index < current) return { kind: "stage", index };
  const reason = index === current ? "refers to current build stage" : "index out of bounds";
  throw new Error(`invalid from flag value ${instruction.from}: ${reason}`);
}
