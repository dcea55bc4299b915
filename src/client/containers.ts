import type { HostConfig, PortUpdate } from "../oci/container.ts";
import type { HijackedConnection } from "./hijack.ts";
import { filtersParam } from "./query.ts";
import type { Query, Transport } from "./transport.ts";
import type {
  ContainerCreateRequest,
  ContainerCreateResponse,
  ContainerInspect,
  ContainerSummary,
  ExecCreateRequest,
  ExecInspect,
  FilesystemChange,
  Filters,
  PruneResponse,
  StatsSample,
  TopResponse,
  WaitResponse,
} from "./types.ts";

export interface AttachOptions {
  stream?: boolean;
  logs?: boolean;
  stdin?: boolean;
  stdout?: boolean;
  stderr?: boolean;
  detachKeys?: string;
  signal?: AbortSignal;
}

export interface LogsOptions {
  follow?: boolean;
  stdout?: boolean;
  stderr?: boolean;
  since?: string;
  until?: string;
  timestamps?: boolean;
  tail?: string;
  details?: boolean;
  signal?: AbortSignal;
}

/** Resolved in two steps: the promise settles once the engine has registered the waiter, `result` at the moment waited for. */
export interface Waiter {
  result: Promise<WaitResponse>;
}

const at = (ref: string, verb = ""): string => `/containers/${encodeURIComponent(ref)}${verb}`;

export function containerCalls(transport: Transport) {
  const post = async (path: string, query?: Query, json?: unknown): Promise<void> => {
    await (await transport.request("POST", path, { query, json })).body?.cancel();
  };
  return {
    list: (options: { all?: boolean; limit?: number; size?: boolean; filters?: Filters } = {}): Promise<ContainerSummary[]> =>
      transport.json("GET", "/containers/json", {
        query: { all: options.all, limit: options.limit, size: options.size, filters: filtersParam(options.filters) },
      }),
    create: (request: ContainerCreateRequest, options: { name?: string; platform?: string } = {}): Promise<ContainerCreateResponse> =>
      transport.json("POST", "/containers/create", { query: { name: options.name || undefined, platform: options.platform || undefined }, json: request }),
    inspect: (ref: string, options: { size?: boolean } = {}): Promise<ContainerInspect> =>
      transport.json("GET", at(ref, "/json"), { query: { size: options.size } }),
    start: (ref: string, options: { detachKeys?: string } = {}) => post(at(ref, "/start"), { detachKeys: options.detachKeys }),
    stop: (ref: string, options: { signal?: string; timeoutSeconds?: number } = {}) =>
      post(at(ref, "/stop"), { signal: options.signal, t: options.timeoutSeconds }),
    restart: (ref: string, options: { signal?: string; timeoutSeconds?: number } = {}) =>
      post(at(ref, "/restart"), { signal: options.signal, t: options.timeoutSeconds }),
    kill: (ref: string, signal?: string) => post(at(ref, "/kill"), { signal }),
    pause: (ref: string) => post(at(ref, "/pause")),
    unpause: (ref: string) => post(at(ref, "/unpause")),
    rename: (ref: string, name: string) => post(at(ref, "/rename"), { name }),
    resize: (ref: string, size: { rows: number; columns: number }) => post(at(ref, "/resize"), { h: size.rows, w: size.columns }),
    remove: async (ref: string, options: { force?: boolean; volumes?: boolean; link?: boolean } = {}): Promise<void> => {
      await transport.request("DELETE", at(ref), { query: { force: options.force, v: options.volumes, link: options.link } });
    },
    update: (ref: string, changes: Partial<HostConfig> & PortUpdate): Promise<{ Warnings?: string[] | null }> =>
      transport.json("POST", at(ref, "/update"), { json: changes }),
    wait: async (ref: string, condition?: "not-running" | "next-exit" | "removed", signal?: AbortSignal): Promise<Waiter> => {
      // The engine sends the head as soon as it watches, and the body at the exit.
      const answer = await transport.request("POST", at(ref, "/wait"), { query: { condition }, signal });
      const result = answer.json() as Promise<WaitResponse>;
      result.catch(() => {});
      return { result };
    },
    top: (ref: string, psArgs?: string): Promise<TopResponse> => transport.json("GET", at(ref, "/top"), { query: { ps_args: psArgs || undefined } }),
    changes: (ref: string): Promise<FilesystemChange[] | null> => transport.json("GET", at(ref, "/changes")),
    attach: (ref: string, options: AttachOptions): Promise<HijackedConnection> => {
      const { signal, ...query } = options;
      return transport.hijack(at(ref, "/attach"), { query: { ...query, detachKeys: query.detachKeys || undefined }, signal });
    },
    /** The answer's body is multiplexed unless the container has a TTY. */
    logs: (ref: string, options: LogsOptions): Promise<Response> => {
      const { signal, ...query } = options;
      return transport.request("GET", at(ref, "/logs"), { query: { ...query }, signal });
    },
    stats: (ref: string, options: { stream?: boolean; oneShot?: boolean; signal?: AbortSignal } = {}): Promise<AsyncIterable<StatsSample>> =>
      transport.lines("GET", at(ref, "/stats"), {
        query: { stream: options.stream === false ? "0" : "1", "one-shot": options.oneShot },
        signal: options.signal,
      }),
    export: (ref: string): Promise<Response> => transport.request("GET", at(ref, "/export")),
    /** A tar of the path; `X-Docker-Container-Path-Stat` tells what it is. */
    getArchive: (ref: string, path: string): Promise<Response> => transport.request("GET", at(ref, "/archive"), { query: { path } }),
    statArchive: (ref: string, path: string): Promise<Response> => transport.request("HEAD", at(ref, "/archive"), { query: { path } }),
    putArchive: async (
      ref: string,
      path: string,
      tar: ReadableStream<Uint8Array>,
      options: { noOverwriteDirNonDir?: boolean; copyUIDGID?: boolean } = {},
    ): Promise<void> => {
      await transport.request("PUT", at(ref, "/archive"), { query: { path, ...options }, body: tar, headers: { "Content-Type": "application/x-tar" } });
    },
    prune: (filters?: Filters): Promise<PruneResponse> => transport.json("POST", "/containers/prune", { query: { filters: filtersParam(filters) } }),
    commit: (
      ref: string,
      options: { repo?: string; tag?: string; comment?: string; author?: string; changes?: string[]; pause?: boolean },
    ): Promise<{ Id: string }> => {
      const { changes, pause, ...rest } = options;
      return transport.json("POST", "/commit", { query: { container: ref, ...rest, changes, pause: pause === false ? "0" : undefined } });
    },
  };
}

export function execCalls(transport: Transport) {
  const path = (id: string, verb: string): string => `/exec/${encodeURIComponent(id)}${verb}`;
  return {
    create: async (ref: string, request: ExecCreateRequest): Promise<string> =>
      (await transport.json<{ Id: string }>("POST", at(ref, "/exec"), { json: request })).Id,
    /** Starts it and takes the connection over. */
    attach: (id: string, request: { Tty: boolean; ConsoleSize?: [number, number] }, signal?: AbortSignal): Promise<HijackedConnection> =>
      transport.hijack(path(id, "/start"), { json: { Detach: false, ...request }, signal }),
    startDetached: async (id: string, request: { Tty: boolean }): Promise<void> => {
      await transport.request("POST", path(id, "/start"), { json: { Detach: true, ...request } });
    },
    inspect: (id: string): Promise<ExecInspect> => transport.json("GET", path(id, "/json")),
    resize: async (id: string, size: { rows: number; columns: number }): Promise<void> => {
      await transport.request("POST", path(id, "/resize"), { query: { h: size.rows, w: size.columns } });
    },
  };
}
