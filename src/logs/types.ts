export type StdStream = "stdout" | "stderr";

/** One record of a container's log: one line, or a part of a long one. `bytes` keeps its newline where it had one. */
export interface LogRecord {
  stream: StdStream;
  /** Unix nanoseconds. */
  time: bigint;
  bytes: Uint8Array;
}

export interface ReadLogsOptions {
  stdout: boolean;
  stderr: boolean;
  follow: boolean;
  /** Unix nanoseconds. */
  since?: bigint;
  until?: bigint;
  /** Last n lines; undefined: all. */
  tail?: number;
  signal?: AbortSignal;
}

/** Reads what conmon writes (k8s-file, which is the CRI format) and rotates it. Paths are given by the container. */
export interface Logs {
  /**
   * Records in order of writing; ends at the log's end, or with `follow` once `ended` resolves and all is read.
   * Rotated files are read too, oldest first; follow goes on across a rotation without loss or doubling.
   */
  read(logPath: string, options: ReadLogsOptions, ended: Promise<unknown>): AsyncIterable<LogRecord[]>;
  /** Watches a running container's log and rotates it by size (rename, then `2 0 0` to conmon's ctl fifo). Dispose to stop. */
  rotate(logPath: string, ctlPath: string, options: { maxSize: number; maxFiles: number }): Disposable;
  remove(logPath: string): Promise<void>;
}
