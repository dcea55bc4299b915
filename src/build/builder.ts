import { randomBytes } from "node:crypto";
import { mkdir, readdir } from "node:fs/promises";
import { unmount } from "../kernel/mount.ts";
import { mountPoints } from "../kernel/mountinfo.ts";
import { EngineError, invalidArgument, messageOf, notImplemented } from "../lib/errors.ts";
import { hostPlatform, parsePlatform } from "../oci/platform.ts";
import { familiarReference, parseReference, withDefaultTag } from "../oci/reference.ts";
import type { SnapshotId } from "../snapshots/types.ts";
import { get } from "./download.ts";
import { createBuildFiles, type BuildFiles } from "./files.ts";
import { cachedSteps } from "./cache-records.ts";
import { createOutput, type Output } from "./output.ts";
import { parseDockerfile } from "./parse.ts";
import { planBuild, type Plan } from "./plan.ts";
import { isWithinBounds, pruneSteps } from "./prune.ts";
import { dropSnapshot, keepSnapshot, shortId, type BuildServices, type BuildSession } from "./session.ts";
import { solve } from "./solve.ts";
import { createStepCache } from "./step-cache.ts";
import type { Builder, BuildOptions } from "./types.ts";

const prefix = "build-";

export function createBuilder(services: BuildServices): Builder {
  const files = createBuildFiles();
  const counts = { triggered: 0, failed: 0 };
  return {
    counts,
    build: async (options) => {
      counts.triggered++;
      try {
        return await build(services, files, options);
      } catch (error) {
        counts.failed++;
        throw error;
      }
    },
    cache: async () => (await cachedSteps(services)).map(({ record }) => record),
    collectCache: async (rules) => {
      const all: { deleted: string[]; spaceReclaimed: number } = { deleted: [], spaceReclaimed: 0 };
      for (const { unusedFor, ...rule } of rules) {
        if (await isWithinBounds(services, rule)) continue;
        const { deleted, spaceReclaimed } = await pruneSteps(services, { ...rule, usedBefore: Date.now() - unusedFor });
        all.deleted.push(...deleted);
        all.spaceReclaimed += spaceReclaimed;
      }
      if (all.deleted.length > 0) services.events.emit("builder", "prune", "", { reclaimed: String(all.spaceReclaimed) });
      return all;
    },
    pruneCache: async (options) => {
      const pruned = await pruneSteps(services, options);
      services.events.emit("builder", "prune", "", { reclaimed: String(pruned.spaceReclaimed) });
      return pruned;
    },
    restore: () => removeLeftovers(services),
  };
}

async function build(services: BuildServices, files: BuildFiles, options: BuildOptions): Promise<string> {
  const output = createOutput(options.onProgress, options.quiet);
  try {
    const id = await buildImage(services, files, options, output);
    if (options.quiet) options.onProgress({ stream: `${id}\n` });
    return id;
  } catch (error) {
    output.flush();
    throw error;
  }
}

async function buildImage(services: BuildServices, files: BuildFiles, options: BuildOptions, output: Output): Promise<string> {
  const tags = checkTags(options.tags);
  if (options.squash) throw invalidArgument("squash is only supported with experimental mode");
  const platform = options.platform === undefined || options.platform === "" ? undefined : parsePlatform(options.platform);
  await using stack = new AsyncDisposableStack();
  const leases = stack.use(new DisposableStack());
  const directory = `${services.paths.tmp}/${prefix}${randomBytes(6).toString("hex")}`;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  stack.defer(() => services.snapshots.removeTree(directory));

  const { dockerfile, context } = await readSource(files, options, directory);
  const plan = asPlan(() => planBuild(parseDockerfile(dockerfile), { ...options, platform, host: hostPlatform() }));
  const session: BuildSession = { services, files, options, output, directory, context, leases };
  const cache = createStepCache(services, options);
  const image = await solve(session, plan, cache);
  cache.result(image);

  output.text(`Successfully built ${shortId(image.id)}\n`);
  for (const tag of tags) {
    services.images.tag(image.id, tag);
    output.text(`Successfully tagged ${tag}\n`);
  }
  return image.id;
}

/** Before anything else, so that a typing error doesn't cost a build. Familiar names, each once. */
function checkTags(tags: readonly string[]): string[] {
  const names = tags.map((tag) => {
    const reference = parseReference(tag);
    if (reference.digest !== undefined) throw invalidArgument("build tag cannot contain a digest");
    return familiarReference(withDefaultTag(reference));
  });
  return [...new Set(names)];
}

function asPlan(work: () => Plan): Plan {
  try {
    return work();
  } catch (error) {
    if (error instanceof EngineError) throw error;
    throw invalidArgument(messageOf(error), error);
  }
}

/** The Dockerfile's text and, but for a Dockerfile by URL, the unpacked context. */
async function readSource(files: BuildFiles, options: BuildOptions, directory: string): Promise<{ dockerfile: string; context?: string }> {
  let stream = options.context;
  const { remote = "" } = options;
  if (remote !== "") {
    const fetched = await fetchRemote(remote, options.signal);
    if (typeof fetched === "string") return { dockerfile: fetched };
    stream = fetched;
  }
  if (stream === undefined) throw invalidArgument("no build context was given");
  const context = `${directory}/context`;
  await mkdir(context, { mode: 0o755 });
  const dockerfile = await files.run({ op: "context", directory: context, dockerfile: options.dockerfile === "" ? "Dockerfile" : options.dockerfile }, stream);
  return { dockerfile, context };
}

const longestText = 16 << 20;

/** A text is a Dockerfile, anything else a context. */
async function fetchRemote(remote: string, signal: AbortSignal): Promise<string | ReadableStream<Uint8Array>> {
  if (/^(?:git:\/\/|git@|github\.com\/|https?:\/\/.*\.git(?:#.*)?$)/.test(remote)) {
    throw notImplemented(`building from the Git repository ${remote} is not supported yet: clone it and build the directory`);
  }
  if (!/^https?:\/\//.test(remote)) throw invalidArgument(`remoteURL (${remote}) could not be recognized as URL`);
  const response = await get(remote, signal);
  const body = response.body as ReadableStream<Uint8Array> | null;
  if (body === null) throw invalidArgument(`${remote} has no content`);
  if (!(response.headers.get("content-type") ?? "").startsWith("text/plain")) return body;
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    parts.push(chunk);
    length += chunk.length;
    if (length > longestText) throw invalidArgument(`${remote} is longer than ${longestText} bytes: that is no Dockerfile`);
  }
  return Buffer.concat(parts).toString("utf8");
}

/** What a killed engine left of its builds: mounts, files, and snapshots that no image came to stand on. The files, which may be many, go in the background. */
async function removeLeftovers(services: BuildServices): Promise<void> {
  const { paths, log, store, images } = services;
  const roots = (await readdir(paths.tmp)).filter((name) => name.startsWith(prefix)).map((name) => `${paths.tmp}/${name}`);
  if (roots.length > 0) {
    for (const target of (await mountPoints()).toReversed()) if (roots.some((root) => target.startsWith(`${root}/`))) unmount(target, { lazy: true });
  }
  const snapshots = store.db.query<{ snapshot: SnapshotId }, []>("SELECT snapshot FROM build_snapshots").all();
  const used = new Set(
    snapshots.length === 0
      ? []
      : (await images.list({ all: true })).flatMap(({ layers, variants }) => [...layers, ...variants.flatMap((variant) => variant.layers)]),
  );
  for (const { snapshot } of snapshots) if (used.has(snapshot)) keepSnapshot(services, snapshot);
  const left = snapshots.filter(({ snapshot }) => !used.has(snapshot));
  if (roots.length + left.length === 0) return;
  log.info("removing what interrupted builds left", { builds: roots.length, snapshots: left.length });
  void Promise.all([...roots.map((root) => services.snapshots.removeTree(root)), ...left.map(({ snapshot }) => dropSnapshot(services, snapshot))]).catch(
    (error: unknown) => log.error("removing what interrupted builds left failed; the next start tries again", { error: messageOf(error) }),
  );
}
