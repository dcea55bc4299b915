import { z } from "zod";
import { invalidArgument } from "../../lib/errors.ts";
import type { BuildOptions } from "../../build/types.ts";
import { registryConfig } from "../auth.ts";
import { endpoint, json, type Call } from "../endpoint.ts";
import { untilFilter } from "../prune.ts";
import { check, int, object, text, textMap, texts } from "../schema.ts";
import { ProgressStream } from "../streams/progress.ts";

/** The classic builder: the context comes as the body, the build's output goes out as JSON lines while it is still coming. */
export const build = endpoint({
  method: "POST",
  path: "/build",
  handler: async (call) => {
    const { services, exchange } = call;
    const progress = new ProgressStream(exchange);
    const options = buildOptions(call, progress);
    await progress.run(async () => void (await services.builder.build(options)));
  },
});

/** @throws EngineError invalidArgument */
function buildOptions({ query, api, exchange, signal }: Call, progress: ProgressStream): BuildOptions {
  if (query.text("version") === "2") {
    throw invalidArgument("this engine has no BuildKit: build with DOCKER_BUILDKIT=0 docker build, or with berth build");
  }
  if (query.has("securityopt")) throw invalidArgument("security options are not supported on linux");
  const remote = query.optional("remote");
  const forceRm = query.bool("forcerm");
  const target = query.optional("target");
  const platform = api >= 32 ? query.optional("platform") : undefined;
  const networkMode = query.optional("networkmode");
  const cpuSetCpus = query.optional("cpusetcpus");
  return {
    ...(remote === undefined ? { context: exchange.body.stream() } : { remote }),
    dockerfile: query.text("dockerfile") || "Dockerfile",
    tags: query.all("t").filter((tag) => tag !== ""),
    quiet: query.bool("q"),
    noCache: query.bool("nocache"),
    cacheFrom: parameter(query.json("cachefrom"), texts, "cachefrom") ?? [],
    pull: query.bool("pull"),
    rm: forceRm || query.bool("rm", true),
    forceRm,
    buildArgs: parameter(query.json("buildargs"), z.record(z.string(), text.nullable()), "buildargs") ?? {},
    labels: parameter(query.json("labels"), textMap, "labels") ?? {},
    ...(target === undefined ? {} : { target }),
    ...(platform === undefined ? {} : { platform }),
    ...(networkMode === undefined ? {} : { networkMode }),
    extraHosts: query.all("extrahosts"),
    squash: query.bool("squash"),
    ...numbers(query),
    ...(cpuSetCpus === undefined ? {} : { cpuSetCpus }),
    ulimits: parameter(query.json("ulimits"), z.array(object({ Name: text, Soft: int, Hard: int })), "ulimits") ?? [],
    auth: registryConfig(exchange.head.headers),
    signal,
    onProgress: progress.send,
  };
}

function numbers(query: Call["query"]): Pick<BuildOptions, "memory" | "memswap" | "cpuShares" | "cpuPeriod" | "cpuQuota" | "shmSize"> {
  const result: Record<string, number> = {};
  for (const name of ["memory", "memswap", "cpuShares", "cpuPeriod", "cpuQuota", "shmSize"]) {
    const value = query.int(name.toLowerCase());
    if (value !== undefined && value !== 0) result[name] = value;
  }
  return result;
}

function parameter<Schema extends z.ZodType>(value: unknown, schema: Schema, name: string): z.infer<Schema> | undefined {
  if (value === undefined || value === null) return undefined;
  try {
    return check(schema, value);
  } catch (error) {
    throw invalidArgument(`error reading parameter ${name}: ${(error as Error).message}`, error);
  }
}

const pruneFilters = ["until", "unused-for", "id", "parent", "type", "description", "inuse", "shared", "private", "label", "label!"];

export const pruneBuild = endpoint({
  method: "POST",
  path: "/build/prune",
  since: 31,
  handler: async ({ services, query, api }) => {
    const { until, "unused-for": unusedFor, ...filters } = query.filters(pruneFilters);
    if (until !== undefined && unusedFor !== undefined) throw invalidArgument("conflicting filters: until and unused-for mean the same");
    const many = Object.entries(filters).find(([name, values]) => values.length > 1 && !name.startsWith("label"));
    if (many !== undefined) throw invalidArgument(`more than one ${many[0]} filter specified`);
    const usedBefore = untilFilter({ ...((until ?? unusedFor) !== undefined && { until: (until ?? unusedFor)! }) });
    const bytes = (name: string): number => {
      const value = query.int(name) ?? 0;
      if (value < 0) throw invalidArgument(`${name} is in bytes and can't be negative: ${value}`);
      return value;
    };
    const { deleted, spaceReclaimed } = await services.builder.pruneCache({
      all: query.bool("all"),
      usedBefore,
      filters,
      reservedSpace: (api >= 48 ? bytes("reserved-space") : 0) || bytes("keep-storage"),
      maxUsedSpace: api >= 48 ? bytes("max-used-space") : 0,
      minFreeSpace: api >= 48 ? bytes("min-free-space") : 0,
    });
    return json({ CachesDeleted: deleted.length === 0 ? null : deleted, SpaceReclaimed: spaceReclaimed });
  },
});

export const cancelBuild = endpoint({
  method: "POST",
  path: "/build/cancel",
  handler: ({ query }) => {
    if (query.text("id") === "") throw invalidArgument("build ID not provided");
    // classic builds end with their connection; there is nothing else to cancel
    return { status: 200 };
  },
});
