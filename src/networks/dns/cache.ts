import type { Query } from "./message.ts";
import { keyOf, lifetimeOf, reuse } from "./message.ts";

/** However long a record says it holds. */
const LONGEST_S = 3_600;
/** Longer responses are rare, and would push out many others. */
const LARGEST = 8_192;
/** What an entry costs beside its bytes. */
const OVERHEAD = 300;

interface Entry {
  reply: Uint8Array;
  offsets: readonly number[];
  storedAt: number;
  /** ms. */
  until: number;
}

/** Responses of one set of servers, for as long as their records hold; the one that was used longest ago makes room. */
export class Cache {
  readonly #entries = new Map<string, Entry>();
  readonly #most: number;
  #bytes = 0;

  /** `most`: bytes, all included. */
  constructor(most: number) {
    this.#most = most;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Keeps a whole response that was checked to answer the question. */
  put(query: Query, reply: Uint8Array, now: number): void {
    const lifetime = lifetimeOf(reply, query);
    if (lifetime === undefined || lifetime.ttl < 1 || reply.length > LARGEST) return;
    const key = keyOf(query);
    this.#drop(key);
    const until = now + Math.min(lifetime.ttl, LONGEST_S) * 1000;
    this.#entries.set(key, { reply: Uint8Array.from(reply), offsets: lifetime.offsets, storedAt: now, until });
    this.#bytes += sizeOf(key, reply);
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= this.#most) return;
      this.#drop(oldest);
    }
  }

  /** The response to `query` as it is now, cut to `limit`. */
  get(message: Uint8Array, query: Query, limit: number, now: number): Uint8Array | undefined {
    const key = keyOf(query);
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (now >= entry.until) {
      this.#drop(key);
      return undefined;
    }
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return reuse(entry.reply, entry.offsets, Math.floor((now - entry.storedAt) / 1000), message, query, limit);
  }

  clear(): void {
    this.#entries.clear();
    this.#bytes = 0;
  }

  #drop(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= sizeOf(key, entry.reply);
  }
}

const sizeOf = (key: string, reply: Uint8Array): number => key.length + reply.length + OVERHEAD;
