import { attempt, type Attempt, type OpenSocket } from "./attempt.ts";
import type { Loop } from "./loop.ts";
import { answerCount, codeOf, isTruncated, responseCode } from "./message.ts";

/** How long one server is waited for before the next is asked as well. */
const STAGGER_MS = 250;
/** How long a later server's "no such name" waits for an earlier server: with split views only the earlier one may know. */
const PATIENCE_MS = 2_000;
const RETRY_MS = 1_000;
/** Under the 5 s of libc, so that a client hears of the failure. */
const DEADLINE_MS = 4_000;
/** Where no server has answered lately. */
const SHORT_DEADLINE_MS = 1_500;
/** After so many silences in a row a server is asked last for a while. */
const SILENCES = 3;
const DOWN_MS = 5_000;

/** A server, and how it has done lately. */
export interface Server {
  name: string;
  silences: number;
  downUntil: number;
}

export interface ExchangeOptions {
  loop: Loop;
  open: OpenSocket;
  servers: readonly Server[];
  port: number;
  protocol: "udp" | "tcp";
  question: Buffer;
  accepts(reply: Buffer): boolean;
}

interface Tried {
  server: Server;
  startedAt: number;
  state: "pending" | "over";
  /** An answer that says there is no such name or record. */
  negative?: Buffer;
  attempt?: Attempt;
}

/**
 * Asks servers one after another, the next when the last has failed or said nothing for a while. `done` gets the first good answer, else the first
 * bad one, else undefined; it may be called before this returns.
 */
export function exchange(options: ExchangeOptions, done: (reply: Buffer | undefined) => void): Disposable {
  const { loop } = options;
  const { timers } = loop;
  const started = loop.now();
  const up = options.servers.filter((server) => server.downUntil <= started);
  const order = [...up, ...options.servers.filter((server) => !up.includes(server))];
  const tried: Tried[] = [];
  let bad: Buffer | undefined;
  let isOver = false;
  let next = 0;

  const end = (): void => {
    isOver = true;
    for (const timer of [deadline, patience, retry, stagger]) timers.cancel(timer);
    for (const each of tried) each.attempt?.[Symbol.dispose]();
  };
  const finish = (reply: Buffer | undefined): void => {
    if (isOver) return;
    const now = loop.now();
    for (const { server, state, startedAt } of tried) if (state === "pending" && now - startedAt >= STAGGER_MS) noteSilence(server, now);
    end();
    done(reply);
  };

  /** A negative answer counts once nobody who comes first may still know better. */
  const settle = (): void => {
    const isPatient = loop.now() < started + PATIENCE_MS;
    for (const { state, server, negative } of tried) {
      if (negative !== undefined) return finish(negative);
      if (state === "pending" && isPatient && server.silences < SILENCES) return;
    }
    if (next >= order.length && tried.every(({ state }) => state === "over")) finish(bad);
  };

  const hear = (each: Tried, reply: Buffer | undefined): void => {
    if (isOver || each.state === "over") return;
    each.state = "over";
    each.attempt?.[Symbol.dispose]();
    delete each.attempt;
    if (reply !== undefined) {
      each.server.silences = 0;
      each.server.downUntil = 0;
      if (isTruncated(reply) || (codeOf(reply) === responseCode.ok && answerCount(reply) > 0)) return finish(reply);
      if (codeOf(reply) === responseCode.ok || codeOf(reply) === responseCode.noSuchName) each.negative = reply;
      else bad ??= reply;
    }
    if (each.negative === undefined) startNext();
    settle();
  };

  const startNext = (): void => {
    timers.cancel(stagger);
    stagger = undefined;
    while (!isOver && next < order.length) {
      const each: Tried = { server: order[next++]!, startedAt: loop.now(), state: "pending" };
      tried.push(each);
      try {
        each.attempt = attempt(options.protocol, { ...options, server: each.server.name, done: (reply) => hear(each, reply) });
        stagger = timers.add(loop.now() + STAGGER_MS, startNext);
        return;
      } catch {
        each.state = "over"; // no route, no such family here: the next at once
      }
    }
  };
  const sendAgain = (): void => {
    for (const each of tried) each.attempt?.again();
    retry = timers.add(loop.now() + RETRY_MS, sendAgain);
  };

  let stagger: ReturnType<typeof timers.add> | undefined;
  const deadline = timers.add(started + (up.length > 0 ? DEADLINE_MS : SHORT_DEADLINE_MS), () => finish(bad));
  const patience = timers.add(started + PATIENCE_MS, settle);
  let retry = timers.add(started + RETRY_MS, sendAgain);
  startNext();
  settle();
  return { [Symbol.dispose]: end };
}

function noteSilence(server: Server, now: number): void {
  server.silences++;
  if (server.silences >= SILENCES) server.downUntil = now + DOWN_MS;
}
