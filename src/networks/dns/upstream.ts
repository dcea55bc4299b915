import { randomInt } from "node:crypto";
import type { OpenSocket } from "./attempt.ts";
import { Cache } from "./cache.ts";
import { exchange, type Server } from "./exchange.ts";
import type { Loop } from "./loop.ts";
import { answersQuestion, ask, codeOf, isTruncated, keyOf, lifetimeOf, type Query, responseCode, reuse } from "./message.ts";

/** As Docker: further servers are never asked. */
const SERVERS_MOST = 3;
const PORT = 53;
/** How long TCP may take after UDP had an answer, though not all of it. */
const REST_MS = 1_000;

/** A question of a client, and what is to be done with the answer: undefined where no server gave one. */
export interface Asked {
  message: Uint8Array;
  query: Query;
  protocol: "udp" | "tcp";
  /** Bytes that the client takes. */
  limit: number;
  done(reply: Uint8Array | undefined): void;
}

interface Waiting {
  asked: Asked[];
  exchange: Disposable | undefined;
}

/** One set of servers, asked from one network, and what they have said. */
export class Upstream implements Disposable {
  readonly #loop: Loop;
  readonly #open: OpenSocket;
  readonly #port: number;
  readonly #cache: Cache;
  /** Questions on their way, by what they ask: the same again waits for the same answer. Whoever forges answers gets no second chance that way. */
  readonly #under = new Map<string, Waiting>();
  #servers: Server[] = [];
  #isClosed = false;

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
    return this.#cache.get(message, query, limit, this.#loop.now());
  }

  /** Asks the servers. `done` may be called at once, where none can be reached. */
  ask(asked: Asked): void {
    const { query, protocol } = asked;
    if (this.#isClosed) return asked.done(undefined);
    const key = `${protocol} ${keyOf(query)}`;
    const same = this.#under.get(key);
    if (same !== undefined) {
      same.asked.push(asked);
      return;
    }
    const waiting: Waiting = { asked: [asked], exchange: undefined };
    this.#under.set(key, waiting);
    const end = (reply: Buffer | undefined, asItCame: boolean): void => {
      this.#under.delete(key);
      if (reply !== undefined && !isTruncated(reply)) this.#cache.put(query, reply, this.#loop.now());
      for (const each of waiting.asked) each.done(reply === undefined ? undefined : fitted(reply, each, asItCame && each === asked));
    };
    this.#exchange(asked, waiting, protocol, (reply) => {
      if (reply === undefined || protocol === "tcp" || !isTruncated(reply)) return end(reply, true);
      this.#askForRest(asked, waiting, (whole) => end(whole ?? reply, whole === undefined));
    });
  }

  #exchange({ message, query }: Asked, waiting: Waiting, protocol: "udp" | "tcp", done: (reply: Buffer | undefined) => void): void {
    // an id of our own, and a source port that the kernel chooses: both have to be guessed by whoever would forge an answer
    const question = ask(message, query, randomInt(65536));
    const accepts = (reply: Buffer): boolean => answersQuestion(reply, question, query) && (isTruncated(reply) || lifetimeOf(reply, query) !== undefined);
    const options = { loop: this.#loop, open: this.#open, servers: this.#servers, port: this.#port, protocol, question, accepts };
    let isDone = false;
    const started = exchange(options, (reply) => {
      isDone = true;
      done(reply);
    });
    if (!isDone) waiting.exchange = started;
  }

  /** By UDP not all of an answer came: by TCP it does, unless that is barred. Clients without TCP (musl before 1.2.4) get what fits. */
  #askForRest(asked: Asked, waiting: Waiting, done: (whole: Buffer | undefined) => void): void {
    const timer = this.#loop.timers.add(this.#loop.now() + REST_MS, () => {
      waiting.exchange?.[Symbol.dispose]();
      done(undefined);
    });
    this.#exchange(asked, waiting, "tcp", (reply) => {
      this.#loop.timers.cancel(timer);
      done(reply !== undefined && codeOf(reply) === responseCode.ok && !isTruncated(reply) ? reply : undefined);
    });
  }

  /** From now on nothing is asked: its network may be gone. */
  [Symbol.dispose](): void {
    this.#isClosed = true;
    for (const { exchange: under } of this.#under.values()) under?.[Symbol.dispose]();
    this.#under.clear();
  }
}

/** The one who asked gets what came, however long: some servers heed no limit, and clients cope (moby#44575). */
function fitted(reply: Buffer, { message, query, limit }: Asked, asItCame: boolean): Uint8Array {
  return reuse(reply, [], 0, message, query, asItCame ? reply.length : limit);
}
