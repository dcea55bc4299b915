import { parsePlatform } from "../oci/platform.ts";
import { filtersParam, headerJson, registryAuth } from "./query.ts";
import type { Query, Transport } from "./transport.ts";
import type {
  AuthConfig,
  Filters,
  HistoryItem,
  ImageDeleteItem,
  ImageInspect,
  ImageOffer,
  ImageSummary,
  MissingLayer,
  ProgressLine,
  PruneResponse,
  SearchResult,
} from "./types.ts";

type Tar = ReadableStream<Uint8Array> | Blob;

/** Slashes stay: the engine's routes take names with slashes. */
const at = (name: string, verb = ""): string =>
  `/images/${encodeURIComponent(name).replaceAll("%2F", "/").replaceAll("%3A", ":").replaceAll("%40", "@")}${verb}`;

export function imageCalls(transport: Transport) {
  return {
    list: ({ all, digests, manifests, filters }: { all?: boolean; digests?: boolean; manifests?: boolean; filters?: Filters } = {}): Promise<ImageSummary[]> =>
      transport.json("GET", "/images/json", { query: { all, digests, manifests, filters: filtersParam(filters) } }),
    inspect: (name: string, options: { platform?: string } = {}): Promise<ImageInspect> =>
      transport.json("GET", at(name, "/json"), { query: { platform: platformParam(options.platform) } }),
    history: (name: string, options: { platform?: string } = {}): Promise<HistoryItem[]> =>
      transport.json("GET", at(name, "/history"), { query: { platform: platformParam(options.platform) } }),
    pull: (image: string, options: { tag?: string; platform?: string; auth?: AuthConfig; signal?: AbortSignal } = {}): Promise<AsyncIterable<ProgressLine>> =>
      transport.lines("POST", "/images/create", {
        query: { fromImage: image, tag: options.tag, platform: options.platform || undefined },
        headers: registryAuth(options.auth),
        signal: options.signal,
      }),
    push: (name: string, options: { tag?: string; platform?: string; auth?: AuthConfig; signal?: AbortSignal } = {}): Promise<AsyncIterable<ProgressLine>> =>
      transport.lines("POST", at(name, "/push"), {
        query: { tag: options.tag, platform: platformParam(options.platform) },
        headers: registryAuth(options.auth),
        signal: options.signal,
      }),
    import: (
      source: { url: string } | { tar: Tar },
      options: { repo?: string; tag?: string; message?: string; changes?: string[]; platform?: string },
    ): Promise<AsyncIterable<ProgressLine>> =>
      transport.lines("POST", "/images/create", {
        query: {
          fromSrc: "url" in source ? source.url : "-",
          repo: options.repo,
          tag: options.tag,
          message: options.message || undefined,
          changes: options.changes,
          platform: options.platform || undefined,
        },
        ...("tar" in source ? { body: source.tar, headers: { "Content-Type": "application/x-tar" } } : {}),
      }),
    tag: async (source: string, target: { repo: string; tag: string }): Promise<void> => {
      await transport.request("POST", at(source, "/tag"), { query: target });
    },
    remove: (name: string, options: { force?: boolean; noPrune?: boolean; platforms?: readonly string[] } = {}): Promise<ImageDeleteItem[]> =>
      transport.json("DELETE", at(name), { query: { force: options.force, noprune: options.noPrune, platforms: platformParams(options.platforms) } }),
    prune: (filters?: Filters): Promise<PruneResponse> => transport.json("POST", "/images/prune", { query: { filters: filtersParam(filters) } }),
    save: (names: readonly string[], options: { platforms?: readonly string[] } = {}): Promise<Response> =>
      transport.request("GET", "/images/get", { query: { names, platform: platformParams(options.platforms) } }),
    load: (tar: Tar, options: { quiet?: boolean; platforms?: readonly string[] } = {}): Promise<AsyncIterable<ProgressLine>> =>
      transport.lines("POST", "/images/load", {
        query: { quiet: options.quiet ? "1" : "0", platform: platformParams(options.platforms) },
        body: tar,
        headers: { "Content-Type": "application/x-tar" },
      }),
    /** Berth's own: what another engine needs to have the image too. */
    offer: (name: string, platform?: string): Promise<ImageOffer> =>
      transport.json("GET", `/berth${at(name, "/offer")}`, { query: { platform: platformParam(platform) } }),
    offeredLayer: async (image: string, digest: string, start: number, signal?: AbortSignal): Promise<ReadableStream<Uint8Array>> => {
      const answer = await transport.request("GET", `/berth${at(image, `/layers/${digest}`)}`, { query: { start }, signal });
      return answer.body as ReadableStream<Uint8Array>;
    },
    /** Which layers of another engine's offer this one lacks. */
    missing: async ({ diffIds, layers }: ImageOffer): Promise<MissingLayer[]> =>
      (await transport.json<{ missing: MissingLayer[] }>("POST", "/berth/images/missing", { json: { diffIds, layers } })).missing,
    receiveLayer: async (layer: { digest: string; size: number }, start: number, body: ReadableStream<Uint8Array>, signal?: AbortSignal): Promise<void> => {
      await transport.request("PUT", `/berth/images/layers/${layer.digest}`, { query: { size: layer.size, start }, body, signal });
    },
    /** Makes an image of an offer whose layers were received. */
    copy: ({ reference, platform, root, digested, documents }: ImageOffer, signal?: AbortSignal): Promise<AsyncIterable<ProgressLine>> =>
      transport.lines("POST", "/berth/images/copy", { json: { reference, platform, root, digested, documents }, signal }),
    search: (term: string, options: { limit?: number; filters?: Filters } = {}): Promise<SearchResult[]> =>
      transport.json("GET", "/images/search", { query: { term, limit: options.limit || undefined, filters: filtersParam(options.filters) } }),
    /** The classic builder. `auths` are the credentials for base images by registry. */
    build: (
      context: Tar | undefined,
      query: Query,
      options: { auths?: Record<string, AuthConfig>; headers?: Record<string, string>; signal?: AbortSignal } = {},
    ): Promise<AsyncIterable<ProgressLine>> =>
      transport.lines("POST", "/build", {
        query,
        body: context,
        headers: { "Content-Type": "application/x-tar", "X-Registry-Config": headerJson(options.auths ?? {}), ...options.headers },
        signal: options.signal,
      }),
    /** Bounds in bytes; `reservedSpace` is what older engines call keep-storage. */
    pruneBuildCache: (
      options: { all?: boolean; filters?: Filters; reservedSpace?: number; maxUsedSpace?: number; minFreeSpace?: number } = {},
    ): Promise<PruneResponse> =>
      transport.json("POST", "/build/prune", {
        query: {
          all: options.all,
          filters: filtersParam(options.filters),
          "reserved-space": options.reservedSpace || undefined,
          "keep-storage": options.reservedSpace || undefined,
          "max-used-space": options.maxUsedSpace || undefined,
          "min-free-space": options.minFreeSpace || undefined,
        },
      }),
  };
}

/** `os[/arch[/variant]]` or an architecture alone, as the JSON that newer endpoints take. @throws EngineError invalidArgument */
function platformParam(platform: string | undefined): string | undefined {
  if (platform === undefined || platform === "") return undefined;
  return JSON.stringify(parsePlatform(platform));
}

function platformParams(platforms: readonly string[] | undefined): string[] | undefined {
  const texts = platforms?.flatMap((platform) => platformParam(platform) ?? []) ?? [];
  return texts.length === 0 ? undefined : texts;
}
