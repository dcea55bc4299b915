import type { StdStream } from "./types.ts";

/** A record as it leaves the engine. */
export interface OutgoingRecord {
  stream: StdStream;
  /** As it stands in the log, `2026-11-21T17:46:59.012724977+00:00`. */
  time: string;
  /** Without its newline. */
  text: Buffer;
  /** Its place in a line of several records; undefined for a whole line. */
  partial?: { id: string; ordinal: number; isLast: boolean };
}

/** Makes a message of a record; undefined for one that the protocol leaves out. */
export type Format = (record: OutgoingRecord) => Buffer | undefined;

/** A way out. Made unconnected. */
export interface Sink extends AsyncDisposable {
  readonly format: Format;
  /** Messages may be joined: it is a stream. */
  readonly isStream: boolean;
  /** `send` is a call of the kernel. */
  readonly isDirect: boolean;
  /** For people: where it goes. */
  readonly target: string;
  /** @throws an error that says why it can't be reached */
  connect(signal: AbortSignal): Promise<void>;
  /**
   * The bytes that the kernel took within this call: of a datagram all or none. Where somebody else stands in between, a promise that it has all of
   * them. @throws, or rejects, where the way is broken: `connect` comes next
   */
  send(message: Buffer): number | Promise<void>;
}
