import { randomInt } from "node:crypto";
import type { OpenSocket } from "./attempt.ts";
import { Cache } from "./cache.ts";
import { exchange, type Server } from "./exchange.ts";
import type { Loop } from "./loop.ts";
import { answersQuestion, ask, isTruncated, keyOf, lifetimeOf, type Query, reuse, truncated } from "./message.ts";

/** As Docker: further servers are never asked. */
const SERVERS_MOST = 3;
const PORT = 53;

/** A question of a client, and what is to be done with the answer: undefined where no server gave one. */
export interface Asked {
  message: Uint8Array;
  query: Query;
  protocol: "udp" | "tcp";
  /** Bytes that the client takes. */
  limit: number;
  done(reply: Uint8Array | undefined): void;
}

/** One set of servers, asked from one network, and what they have said. */
export class Upstream implements Disposable {
  readonly #loop: Loop;
  readonly #open: OpenSocket;
  readonly #port: number;
  readonly #cache: Cache;
  /** Questions on their way, by what they ask: the same again waits for the same answer. Whoever forges answers gets no second chance that way. */
  readonly #under = new Map<string, { asked: Asked[]; exchange: Disposable | undefined }>();
  #servers: Server[] = [];

  constructor(loop: Loop, open: OpenSocket, cacheBytes: number, port = PORT) {
    this.#loop = loop;
    this.#open = open;
    this.#cache = new Cache(cacheBytes);
    this.#port = port;
  }

  /** Other servers than before may say other things: nothing of it is kept. */
  use(servers: readonly string[]): void {
    const wanted = servers.slice(0, SERVERS_MOST);
    if (wanted.join() === this.#servers.map(({ name }) => name).join()) return;
    this.#servers = wanted.map((name) => ({ name, silences: 0, downUntil: 0 }));
    this.#cache.clear();
  }

  /** The answer that is known already. */
  known({ message, query, limit }: Pick<Asked, "message" | "query" | "limit">): Uint8Array | undefined {
    const found = this.#cache.get(message, query, limit, this.#loop.now());
    return found === "long" ? truncated(message, query) : found;
  }

  /** Asks the servers. `done` may be called at once, where none can be reached. */
  ask(asked: Asked): void {
    const { message, query, protocol } = asked;
    const key = `${protocol} ${keyOf(query)}`;
    const same = this.#under.get(key);
    if (same !== undefined) {
      same.asked.push(asked);
      return;
    }
    const waiting: { asked: Asked[]; exchange: Disposable | undefined } = { asked: [asked], exchange: undefined };
    this.#under.set(key, waiting);
    // an id of our own, and a source port that the kernel chooses: both have to be guessed by whoever would forge an answer
    const question = ask(message, query, randomInt(65536));
    const accepts = (reply: Buffer): boolean => answersQuestion(reply, question, query) && (isTruncated(reply) || lifetimeOf(reply, query) !== undefined);
    const options = { loop: this.#loop, open: this.#open, servers: this.#servers, port: this.#port, protocol, question, accepts };
    waiting.exchange = exchange(options, (reply) => {
      this.#under.delete(key);
      if (reply !== undefined && !isTruncated(reply)) this.#cache.put(query, reply, this.#loop.now());
      for (const each of waiting.asked) each.done(reply === undefined ? undefined : fitted(reply, each, each === asked));
    });
  }

  [Symbol.dispose](): void {
    for (const { exchange: under } of this.#under.values()) under?.[Symbol.dispose]();
    this.#under.clear();
  }
}

/** The one who asked gets what came, however long: some servers heed no limit, and clients cope (moby#44575). */
function fitted(reply: Buffer, { message, query, limit }: Asked, isFirst: boolean): Uint8Array {
  return reuse(reply, [], 0, message, query, isFirst ? reply.length : limit) ?? truncated(message, query);
}
