import type { LogSource } from "./attributes.ts";
import type { Forwarding } from "./forward.ts";

export type StdStream = "stdout" | "stderr";

/**
 * Records of a log, lying in one piece of memory: a gigabyte of them must not become objects. Per record five numbers in `heads`: where its
 * time begins, where that ends, where the text begins, where it ends (its newline included), and flags (see cri.ts, which reads batches too).
 */
export interface LogBatch {
  data: Buffer;
  heads: Int32Array;
  count: number;
}

/** A place in a log: the file's number, which it keeps when it is rotated or compressed, and an offset in its text. */
export interface LogPosition {
  segment: number;
  offset: number;
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

/** Bounds of a log on the disk. */
export interface KeepOptions {
  /** Bytes of one file. */
  maxSize: number;
  /** Files, the current one included. */
  maxFiles: number;
  compress: boolean;
  /** Bytes that all may have together while what is in them is still to be sent, where that is more; undefined where nothing is, or it may be lost. */
  queue?: number | undefined;
}

/** Reads, bounds and compresses what conmon writes (k8s-file, which is the CRI format). Paths are given by the container. */
export interface Logs {
  /**
   * Records in order of writing; ends at the log's end, or with `follow` once `ended` resolves and all is read.
   * Rotated files are read too, oldest first; follow goes on across a rotation without loss or doubling. A batch holds until the next is asked for.
   */
  read(logPath: string, options: ReadLogsOptions, ended: Promise<unknown>): AsyncIterable<LogBatch>;
  /** Before a further run: a line of the last one that has no newline ends here. @throws where the disk is full */
  endLine(logPath: string): void;
  /** Watches a running container's log, rotates it by size and compresses what was rotated. Dispose when the container has ended. */
  keep(logPath: string, ctlPath: string, options: KeepOptions): Disposable;
  /** Before a start with the driver `syslog` or `journald`: can its receiver be reached? @throws an error that says why not */
  checkReceiver(type: string, source: LogSource, signal: AbortSignal): Promise<void>;
  /**
   * Sends a log to the driver's receiver, from where the last one stopped; `ended`: the run is over and the log complete. `hold` keeps the
   * container from writing until it is disposed: for when it writes faster than the receiver takes.
   */
  forward(type: string, source: LogSource, options: { logPath: string; ended: Promise<unknown>; hold: () => Disposable }): Forwarding;
  /** Resolves when nothing touches that log's files any more: they may be removed. */
  forget(logPath: string): Promise<void>;
}
