import type { Framing } from "./http-body.ts";

/**
 * A client's connection that a Worker reads a request's body from, or writes an answer's to, by itself: large bodies then cost the event loop nothing (docs/adr/0017). Descriptors
 * are duplicates that don't block, and stay open until they are given back.
 */
export interface LentInput {
  fd: number;
  framing: Framing;
  /** What has been read already, framing and all. */
  first: Uint8Array;
  /** `isWhole`: the body was read to its end, and `rest` comes after it. Where it wasn't, the connection ends after the answer. */
  giveBack(end: { isWhole: boolean; rest: Uint8Array }): void;
}

/** Bytes that a client sends. `lend` before anything was read from the stream: undefined where only the stream will do (TLS). */
export type Upload = ReadableStream<Uint8Array> & { lend?: () => Promise<LentInput | undefined> };

export interface LentOutput {
  fd: number;
  /** Each piece goes out as a chunk of HTTP/1.1. */
  isChunked: boolean;
  giveBack(): void;
}

/** Bytes for a client. `pour`, once a piece was read: writes the rest to the client itself, and resolves when all is written. @throws as the stream does */
export type Download = ReadableStream<Uint8Array> & { pour?: (to: LentOutput) => Promise<void> };
