import { EngineError } from "../lib/errors.ts";

/** Subsystems that a plugin may stand in for, under the names of its manifest. */
export type PluginKind = "VolumeDriver" | "NetworkDriver" | "IpamDriver";

/** A plugin that answers with another status than 200. */
export class PluginError extends EngineError {
  readonly status: number;

  constructor(status: number, message: string) {
    super("internal", message);
    this.status = status;
  }
}

export interface CallOptions {
  /** Milliseconds after which nobody waits any more. */
  deadlineMs?: number;
  /** Try again while the plugin can't be reached, as when it is being restarted; true unless told. */
  retry?: boolean;
}

/** A program beside the engine that has said what it can do. */
export interface Plugin {
  readonly name: string;
  readonly kinds: ReadonlySet<string>;
  /**
   * Asks for something like `VolumeDriver.Mount` and gives the answer's JSON object. Whatever is in it is the plugin's word: nothing is checked but
   * its size. @throws EngineError internal with what the plugin says is wrong, unavailable where it can't be reached or doesn't answer in time
   */
  call(method: string, request: unknown, options?: CallOptions): Promise<Record<string, unknown>>;
}

/** Docker's legacy plugins: sockets and specs in well-known folders, looked up by name when somebody asks for it. */
export interface Plugins {
  /** @throws EngineError notFound `plugin "x" not found`, invalidArgument where it does something else, unavailable */
  get(name: string, kind: PluginKind): Promise<Plugin>;
  /** All that are there and answer; what is wrong with others is told in `warnings`. Where there are none, it costs a look into three folders. */
  all(kind: PluginKind): Promise<{ plugins: Plugin[]; warnings: string[] }>;
  /** Names of those that were in use since the engine started, sorted. */
  known(kind: PluginKind): string[];
}
