import type { ImageRecord } from "../images/types.ts";
import { realtimeNano } from "../kernel/clock.ts";
import { EngineError, invalidArgument, messageOf } from "../lib/errors.ts";
import { formatNano } from "../lib/time.ts";
import type { HistoryEntry } from "../oci/image.ts";
import { formatPlatform } from "../oci/platform.ts";
import type { SnapshotId } from "../snapshots/types.ts";
import { baseImage } from "./base.ts";
import { makeWorkdir, prepareCopy } from "./copy-step.ts";
import { beginStage, cacheKey, evaluate, type CopyOperation, type Evaluation, type StageState } from "./evaluate.ts";
import type { Instruction } from "./instructions.ts";
import { DockerfileError } from "./lines.ts";
import { parseInstruction } from "./parse.ts";
import { planStep, type Plan, type PlannedStage, type PlannedStep, type Source } from "./plan.ts";
import { runStep } from "./run-step.ts";
import { checkCancelled, dropSnapshot, keepSnapshot, newContainerId, shortId, withImageRoot, type BuildSession } from "./session.ts";
import type { StepCache } from "./step-cache.ts";

/** What the work on one plan shares. */
interface Solving {
  session: BuildSession;
  plan: Plan;
  cache: StepCache;
  /** The image each finished stage gave; undefined: an empty file system. */
  stages: (ImageRecord | undefined)[];
  /** Of the last `Step n/m` shown. */
  step: number;
}

/** A stage at one of its steps. */
interface Position {
  state: StageState;
  image: ImageRecord | undefined;
}

/** Executes a plan, stage by stage, each step from the cache where it can be. @throws EngineError */
export async function solve(session: BuildSession, plan: Plan, cache: StepCache): Promise<ImageRecord> {
  const solving: Solving = { session, plan, cache, stages: [], step: 0 };
  const { output } = session;
  if (plan.warnings.length > 0) output.errorText(`${plan.warnings.join("\n")}\n`);
  for (const { code } of plan.metaArgs) output.step(++solving.step, plan.total, code);
  for (const stage of plan.stages) solving.stages.push(await solveStage(solving, stage));
  const unused = plan.args.unused();
  if (unused.length > 0) output.text(`[Warning] One or more build-args [${unused.join(" ")}] were not consumed\n`);
  const image = solving.stages.at(-1);
  if (image === undefined) throw invalidArgument("No image was generated. Is your Dockerfile empty?");
  return image;
}

async function solveStage(solving: Solving, { stage, base, steps, index }: PlannedStage): Promise<ImageRecord | undefined> {
  const { session, plan } = solving;
  const { output } = session;
  checkCancelled(session);
  output.step(++solving.step, plan.total, stage.code);
  const image = await imageOf(solving, base);
  const { state, triggers } = beginStage(image?.config.config, plan.args);
  let position: Position = { state, image };
  if (triggers.length > 0) output.text(`# Executing ${triggers.length} build trigger${triggers.length > 1 ? "s" : ""}\n`);
  for (const trigger of triggers) position = await solveStep(solving, position, triggerStep(plan, trigger, index, stage.line));
  output.arrow(position.image === undefined ? "" : shortId(position.image.id));
  for (const step of steps) {
    checkCancelled(session);
    output.step(++solving.step, plan.total, step.instruction.code);
    position = await solveStep(solving, position, step);
    output.arrow(position.image === undefined ? "" : shortId(position.image.id));
  }
  if (position.image !== undefined) output.aux(position.image.id);
  return position.image;
}

async function imageOf(solving: Solving, source: Source): Promise<ImageRecord | undefined> {
  if (source.kind === "scratch") return undefined;
  return source.kind === "stage" ? solving.stages[source.index] : await baseImage(solving.session, source);
}

function triggerStep(plan: Plan, trigger: string, stage: number, line: number): PlannedStep {
  return atLine(line, () => planStep(plan, parseInstruction(trigger), stage));
}

/** Mistakes found at a step are told with the line of its instruction. */
function atLine<T>(line: number, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof EngineError) throw error;
    throw invalidArgument(error instanceof DockerfileError ? error.message : new DockerfileError(line, messageOf(error)).message, error);
  }
}

async function solveStep(solving: Solving, position: Position, { instruction, from }: PlannedStep): Promise<Position> {
  const { session, plan } = solving;
  const evaluation = atLine(instruction.line, () => evaluate(position.state, instruction, plan.escape));
  if (evaluation.note !== undefined) session.output.text(evaluation.note);
  const { operation } = evaluation;
  if (operation.kind === "copy") return await copyStep(solving, position, { evaluation, operation, from });
  return await cached(solving, position, {
    evaluation,
    description: evaluation.describe(),
    make: () => inContainer(solving, position, evaluation, instruction),
  });
}

async function copyStep(solving: Solving, position: Position, step: { evaluation: Evaluation; operation: CopyOperation; from?: Source }): Promise<Position> {
  const { evaluation, operation, from } = step;
  const { session } = solving;
  const copy = async (root: string | undefined): Promise<Position> => {
    const prepared = await prepareCopy(session, operation, root);
    const make = (): Promise<SnapshotId> => prepared.run(position.image?.layers ?? []);
    return await cached(solving, position, { evaluation, description: evaluation.describe(prepared.hash), make });
  };
  if (from === undefined) return await copy(undefined);
  const source = await imageOf(solving, from);
  return await withImageRoot(session, source, copy);
}

/** The image a step gives: from the cache, else made by `make` (which gives the new layer, if there is one). */
async function cached(
  solving: Solving,
  { image: parent }: Position,
  step: { evaluation: Evaluation; description: string; make(): Promise<SnapshotId | undefined> },
): Promise<Position> {
  const { session, plan, cache } = solving;
  const { state, operation } = step.evaluation;
  const key = cacheKey(parent?.id ?? `scratch:${formatPlatform(plan.target)}`, step.description, operation, state.config);
  const past = cache.find(key) ?? (await fromHistory(solving, { parent, state, description: step.description }));
  if (past !== undefined) {
    session.output.arrow("Using cache");
    session.leases.use(session.services.images.lease(past));
    cache.record(key, past);
    return { state, image: past };
  }
  const snapshot = await step.make();
  try {
    const image = await createImage(solving, { parent, state, snapshot, entry: newEntry(state, step.description, snapshot) });
    if (snapshot !== undefined) keepSnapshot(session.services, snapshot);
    cache.record(key, image);
    return { state, image };
  } catch (error) {
    if (snapshot !== undefined) await dropSnapshot(session.services, snapshot);
    throw error;
  }
}

/** A step that an image of --cache-from took before. */
async function fromHistory(
  solving: Solving,
  { parent, state, description }: { parent: ImageRecord | undefined; state: StageState; description: string },
): Promise<ImageRecord | undefined> {
  const past = solving.cache.inHistory(parent, description);
  if (past === undefined || past.image !== undefined) return past?.image;
  return await createImage(solving, { parent, state, snapshot: past.layer, keepEmpty: true, entry: past.entry });
}

/** Steps that Docker makes a container for, though only RUN starts one. Clients see their ids. */
async function inContainer(
  solving: Solving,
  { image: parent }: Position,
  { operation, state }: Evaluation,
  instruction: Instruction,
): Promise<SnapshotId | undefined> {
  const { session } = solving;
  const { rm, forceRm } = session.options;
  const id = newContainerId();
  session.output.arrow(`Running in ${shortId(id)}`);
  let done = false;
  try {
    const snapshot =
      operation.kind === "run"
        ? await runStep(session, { id, parent, config: state.config, operation })
        : operation.kind === "workdir"
          ? await makeWorkdir(session, parent, operation.path)
          : undefined;
    done = true;
    return snapshot;
  } finally {
    // Nothing stays in either case; the words follow dockerd's, which keeps containers of failed steps unless --force-rm says otherwise.
    if (forceRm || (rm && done)) session.output.arrow(`Removed intermediate container ${shortId(id)}`);
    session.services.log.debug("build step", { container: shortId(id), line: instruction.line, done });
  }
}

function newEntry(state: StageState, description: string, snapshot: SnapshotId | undefined): HistoryEntry {
  const author = state.author === "" ? undefined : state.author;
  return { created: formatNano(realtimeNano()), author, created_by: description, empty_layer: snapshot === undefined ? true : undefined };
}

async function createImage(
  { session, plan }: Solving,
  made: { parent: ImageRecord | undefined; state: StageState; snapshot: SnapshotId | undefined; keepEmpty?: boolean; entry: HistoryEntry },
): Promise<ImageRecord> {
  const { parent, state, snapshot, keepEmpty, entry } = made;
  const { images } = session.services;
  const { os, architecture, variant } = parent?.config ?? plan.target;
  const { created, author } = entry;
  const history = [...(parent?.config.history ?? []), entry];
  const image = await images.create({ parent, snapshot, keepEmpty, config: { architecture, os, variant, created, author, config: state.config, history } });
  session.leases.use(images.lease(image));
  return image;
}
