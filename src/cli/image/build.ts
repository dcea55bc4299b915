import type { ProgressLine } from "../../client/types.ts";
import type { Query } from "../../client/transport.ts";
import { parseReference } from "../../oci/reference.ts";
import { defineCommand } from "../command.ts";
import { allCredentials } from "../credentials.ts";
import { CliError } from "../errors.ts";
import type { FlagValues } from "../flags.ts";
import { humanSize } from "../format/human.ts";
import { showProgress } from "../format/progress.ts";
import type { Sink, Streams } from "../io.ts";
import { keyValues } from "../parse/env.ts";
import { parseUlimit } from "../parse/limits.ts";
import { parseExtraHost } from "../parse/networks.ts";
import { openContext } from "./build-context.ts";

const flags = {
  "add-host": { type: "list", help: "Add a custom host-to-IP mapping (host:ip)" },
  "build-arg": { type: "list", help: "Set build-time variables" },
  "cache-from": { type: "csv", help: "Images to consider as cache sources" },
  "cgroup-parent": { type: "string", help: "Set the parent cgroup for the RUN instructions during build" },
  compress: { type: "bool", help: "Compress the build context using gzip" },
  "cpu-period": { type: "int", help: "Limit the CPU CFS (Completely Fair Scheduler) period" },
  "cpu-quota": { type: "int", help: "Limit the CPU CFS (Completely Fair Scheduler) quota" },
  "cpu-shares": { type: "int", short: "c", help: "CPU shares (relative weight)" },
  "cpuset-cpus": { type: "string", help: "CPUs in which to allow execution (0-3, 0,1)" },
  "cpuset-mems": { type: "string", help: "Memory nodes in which to allow execution (0-3, 0,1)" },
  file: { type: "string", short: "f", help: 'Name of the Dockerfile (default "PATH/Dockerfile")' },
  "force-rm": { type: "bool", help: "Always remove intermediate containers" },
  iidfile: { type: "string", help: "Write the image ID to the file" },
  isolation: { type: "string", help: "Container isolation technology" },
  label: { type: "list", help: "Set metadata for an image" },
  memory: { type: "bytes", short: "m", help: "Memory limit" },
  "memory-swap": { type: "swap", help: "Limit of memory plus swap: -1 for unlimited swap" },
  network: { type: "string", help: "Set the networking mode for the RUN instructions during build", default: "default" },
  "no-cache": { type: "bool", help: "Do not use cache when building the image" },
  platform: { type: "string", help: "Set platform if server is multi-platform capable" },
  progress: { type: "string", help: 'Set type of progress output ("auto", "plain", "tty")', default: "auto", choices: ["auto", "plain", "tty"] },
  pull: { type: "bool", help: "Always attempt to pull a newer version of the image" },
  quiet: { type: "bool", short: "q", help: "Suppress the build output and print image ID on success" },
  rm: { type: "bool", help: "Remove intermediate containers after a successful build", default: "true" },
  "security-opt": { type: "csv", help: "Security options" },
  "shm-size": { type: "bytes", help: "Size of /dev/shm" },
  squash: { type: "bool", help: "Squash newly built layers into a single new layer" },
  tag: { type: "list", short: "t", help: "Name and optionally a tag in the 'name:tag' format" },
  target: { type: "string", help: "Set the target build stage to build" },
  ulimit: { type: "list", help: "Ulimit options", value: "ulimit" },
} as const;

export const build = defineCommand({
  name: "image build",
  aliases: ["build", "builder build"],
  summary: "Build an image from a Dockerfile",
  usage: "PATH | URL | -",
  flags,
  args: { min: 1, max: 1 },
  completes: "file",
  async run(context) {
    const { args, client, io, config, env } = context;
    for (const tag of context.flags.tag) parseReference(tag);
    const { tar, remote, dockerfile } = await openContext(io, args[0] as string, context.flags.file);
    const query = buildQuery(context.flags, env, (await config.file()).proxies?.default);
    const sent = tar === undefined ? undefined : prepare(tar, context.flags, io);
    const engine = await client();
    const auths = await allCredentials(config, io.err);
    const lines = await engine.images.build(
      sent?.body,
      { ...query, dockerfile: dockerfile || undefined, remote },
      {
        auths,
        headers: context.flags.compress && tar !== undefined ? { "Content-Encoding": "gzip" } : {},
      },
    );
    await sent?.done();
    const id = await (context.flags.quiet ? showQuietly(lines, io) : show(lines, io));
    if (context.flags.iidfile !== "") {
      if (id === undefined) throw new CliError(`the build gave no image id to write to ${context.flags.iidfile}`);
      await Bun.write(context.flags.iidfile, id);
    }
  },
});

/** Resolves to the image's id, where the engine said it. */
async function show(lines: AsyncIterable<ProgressLine>, io: Streams): Promise<string | undefined> {
  let id: string | undefined;
  await showProgress(lines, io.out, {
    rows: io.windowSize()?.rows,
    onAux: (aux) => {
      id = idOf(aux) ?? id;
    },
  });
  return id;
}

/** Only the id; the whole output where the build fails. */
async function showQuietly(lines: AsyncIterable<ProgressLine>, io: Streams): Promise<string | undefined> {
  let kept = "";
  let id: string | undefined;
  const memory: Sink = {
    isTty: false,
    columns: () => 0,
    colours: false,
    write: async (data) => void (kept += typeof data === "string" ? data : new TextDecoder().decode(data)),
  };
  try {
    await showProgress(lines, memory, {
      onAux: (aux) => {
        id = idOf(aux) ?? id;
      },
    });
  } catch (error) {
    await io.err.write(kept);
    throw error;
  }
  id ??= kept
    .trim()
    .split("\n")
    .findLast((line) => /^sha256:[0-9a-f]{64}$/.test(line.trim()));
  await io.out.write(id === undefined ? kept : `${id}\n`);
  return id;
}

function idOf(aux: unknown): string | undefined {
  return typeof aux === "object" && aux !== null && "ID" in aux && typeof aux.ID === "string" ? aux.ID : undefined;
}

/** Counts what is sent, for the line that says so; compresses it where asked. */
function prepare(
  tar: ReadableStream<Uint8Array>,
  { compress, quiet }: FlagValues<typeof flags>,
  io: Streams,
): { body: ReadableStream<Uint8Array>; done(): Promise<void> } {
  let bytes = 0;
  let shownAt = 0;
  const line = (): string => `Sending build context to the engine  ${humanSize(bytes)}`;
  const counted = tar.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform: async (chunk, controller) => {
        bytes += chunk.length;
        controller.enqueue(chunk);
        if (quiet || !io.out.isTty || Date.now() - shownAt < 100) return;
        shownAt = Date.now();
        await io.out.write(`\r${line()}\x1b[K`);
      },
    }),
  );
  const body = compress ? counted.pipeThrough(new CompressionStream("gzip") as unknown as TransformStream<Uint8Array, Uint8Array>) : counted;
  return { body, done: async () => (quiet ? undefined : io.out.write(io.out.isTty ? `\r${line()}\x1b[K\n` : `${line()}\n`)) };
}

/** The parameters of `POST /build`. */
function buildQuery(
  options: FlagValues<typeof flags>,
  env: Record<string, string | undefined>,
  proxies: { httpProxy?: string; httpsProxy?: string; noProxy?: string; ftpProxy?: string; allProxy?: string } | undefined,
): Query {
  const json = (value: object | readonly unknown[]): string | undefined => (Object.keys(value).length === 0 ? undefined : JSON.stringify(value));
  return {
    version: "1",
    t: options.tag,
    buildargs: json(buildArgs(options["build-arg"], env, proxies)),
    labels: json(keyValues(options.label)),
    cachefrom: json(options["cache-from"]),
    securityopt: json(options["security-opt"]),
    ulimits: json(options.ulimit.map(parseUlimit)),
    extrahosts: options["add-host"].length === 0 ? undefined : options["add-host"].map(parseExtraHost).join(","),
    nocache: options["no-cache"],
    pull: options.pull,
    q: options.quiet,
    rm: options.rm ? "1" : "0",
    forcerm: options["force-rm"],
    squash: options.squash,
    target: options.target || undefined,
    platform: options.platform || undefined,
    networkmode: options.network === "default" ? undefined : options.network,
    cgroupparent: options["cgroup-parent"] || undefined,
    isolation: options.isolation || undefined,
    memory: options.memory || undefined,
    memswap: options["memory-swap"] || undefined,
    shmsize: options["shm-size"] || undefined,
    cpushares: options["cpu-shares"] || undefined,
    cpuperiod: options["cpu-period"] || undefined,
    cpuquota: options["cpu-quota"] || undefined,
    cpusetcpus: options["cpuset-cpus"] || undefined,
    cpusetmems: options["cpuset-mems"] || undefined,
  };
}

/** `NAME` alone takes the value it has here, null (left to the Dockerfile) where it has none. */
function buildArgs(
  pairs: readonly string[],
  env: Record<string, string | undefined>,
  proxies: { httpProxy?: string; httpsProxy?: string; noProxy?: string; ftpProxy?: string; allProxy?: string } | undefined,
): Record<string, string | null> {
  const args: Record<string, string | null> = {};
  for (const [name, value] of [
    ["HTTP_PROXY", proxies?.httpProxy],
    ["HTTPS_PROXY", proxies?.httpsProxy],
    ["NO_PROXY", proxies?.noProxy],
    ["FTP_PROXY", proxies?.ftpProxy],
    ["ALL_PROXY", proxies?.allProxy],
  ] as const) {
    if (value) for (const spelling of [name, name.toLowerCase()]) args[spelling] = value;
  }
  for (const pair of pairs) {
    const equals = pair.indexOf("=");
    const name = equals < 0 ? pair : pair.slice(0, equals);
    args[name] = equals < 0 ? (env[pair] ?? null) : pair.slice(equals + 1);
  }
  return args;
}
