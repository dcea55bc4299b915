import type { Loop } from "./loop.ts";
import { addressAnswer, type Answer, nameAnswer, parseQuery, type Query, recordType, refusalOf, respond, responseCode, reverseAddress } from "./message.ts";
import type { Names } from "./names.ts";
import type { Asked, Upstream } from "./upstream.ts";

const TCP_LIMIT = 65_535;
/** Questions of one container that servers are asked at a time, and those that wait for their turn. */
const OPEN_MOST = 128;
const WAITING_MOST = 1024;
/** Its client has given up by then. */
const WAIT_MS = 4_000;

/** Answers one message: `reply` is called once, now or later; false where no answer is due. The message is the caller's again on return. */
export type Answerer = (message: Uint8Array, protocol: "udp" | "tcp", reply: (answer: Uint8Array) => void) => boolean;

export interface ResolverDeps {
  loop: Loop;
  containerId: string;
  names: Names;
  /** The host's servers, asked from the host's network. */
  host(): Upstream;
  /** The container's own servers, asked from its network. */
  own(servers: readonly string[]): Upstream;
  /** Whether the host's resolver configuration sets ndots. */
  hostNdots(): boolean;
}

/** What one container's 127.0.0.11 says: names of its networks from the records, everything else from outside. */
export function createResolver(deps: ResolverDeps): Answerer {
  const { containerId, names } = deps;
  const forward = createForwarder(deps.loop);

  const answer = (message: Uint8Array, query: Query, protocol: "udp" | "tcp", reply: (answer: Uint8Array) => void): void => {
    const limit = protocol === "tcp" ? TCP_LIMIT : query.udpSize;
    const say = (code: number, answers: readonly Answer[] = []): void => reply(respond(message, query, code, answers, limit));
    const own = ownAnswers(query, containerId, names);
    if (own !== undefined) return say(responseCode.ok, own);
    // a zone is many messages, and nothing that a stub asks for
    if (query.type === recordType.AXFR || query.type === recordType.IXFR) return say(responseCode.notImplemented);

    const outside = names.outside(containerId);
    const isAddress = query.type === recordType.A || query.type === recordType.AAAA;
    // as Docker: with ndots the client comes again with a search domain, and the bare name is nobody's business outside
    if (isAddress && !query.name.includes(".") && (outside.ndots || deps.hostNdots())) return say(responseCode.ok);
    const upstream = outside.servers.length > 0 ? deps.own(outside.servers) : outside.external ? deps.host() : undefined;
    if (upstream === undefined) return say(responseCode.serverFailure);
    const known = upstream.known({ message, query, limit });
    if (known !== undefined) return reply(known);
    forward(upstream, { message: Uint8Array.from(message), query, protocol, limit }, reply);
  };

  return (message, protocol, reply) => {
    const query = parseQuery(message);
    if (query !== undefined) {
      answer(message, query, protocol, reply);
      return true;
    }
    const refusal = refusalOf(message);
    if (refusal !== undefined) reply(refusal);
    return refusal !== undefined;
  };
}

type Forward = (upstream: Upstream, asked: Omit<Asked, "done">, reply: (answer: Uint8Array) => void) => void;

/** Bounds what one container has outside at a time. */
function createForwarder(loop: Loop): Forward {
  let open = 0;
  let isDraining = false;
  const waiting: { since: number; run(): void; fail(): void }[] = [];

  const drain = (): void => {
    if (isDraining) return;
    isDraining = true;
    while (open < OPEN_MOST && waiting.length > 0) {
      const { since, run, fail } = waiting.shift()!;
      if (loop.now() - since > WAIT_MS) fail();
      else run();
    }
    isDraining = false;
  };

  return (upstream, asked, reply) => {
    const { message, query, limit } = asked;
    const fail = (code: number): void => reply(respond(message, query, code, [], limit));
    if (waiting.length >= WAITING_MOST) return fail(responseCode.refused);
    const run = (): void => {
      open++;
      const done = (answer: Uint8Array | undefined): void => {
        open--;
        if (answer === undefined) fail(responseCode.serverFailure);
        else reply(answer);
        drain();
      };
      upstream.ask({ ...asked, done });
    };
    waiting.push({ since: loop.now(), run, fail: () => fail(responseCode.serverFailure) });
    drain();
  };
}

/** Undefined for names and addresses that aren't a container's. A container's name has no records of other types: they are not asked for outside. */
function ownAnswers(query: Query, containerId: string, names: Names): Answer[] | undefined {
  if (query.type === recordType.PTR) {
    const address = reverseAddress(query.name);
    const name = address === undefined ? undefined : names.nameOf(containerId, address);
    return name === undefined ? undefined : [nameAnswer(name)];
  }
  const addresses = names.addressesOf(containerId, query.name);
  if (addresses === undefined) return undefined;
  const length = query.type === recordType.A ? 4 : query.type === recordType.AAAA ? 16 : 0;
  return shuffled(addresses.filter((address) => address.length === length)).map(addressAnswer);
}

/** Clients take the first: a different one each time spreads them over the containers of one alias. */
function shuffled<T>(list: T[]): T[] {
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [list[i], list[j]] = [list[j]!, list[i]!];
  }
  return list;
}
