import { connect } from "node:net";
import { randomInt } from "node:crypto";
import { connectUdp, type UdpFlow } from "../udp.ts";
import { answersQuestion, codeOf, type Query, responseCode } from "./message.ts";

/** How long one server is waited for before the next is asked as well. */
const STAGGER_MS = 400;
const DEADLINE_MS = 5_000;
/** As Docker: further servers are never asked. */
const SERVERS_MOST = 3;
const QUERIES_MOST = 1024;
const PORT = 53;

/** Asks the host's (or the container's own) DNS servers, from the host's network. */
export interface Forwarder {
  /** The first good answer, else the first bad one, else undefined after 5 s; `busy` where too many questions are open already. */
  ask(message: Uint8Array, query: Query, protocol: "udp" | "tcp", servers: readonly string[]): Promise<Uint8Array | "busy" | undefined>;
}

interface Attempt {
  reply: Promise<Uint8Array | undefined>;
  cancel(): void;
}

export function createForwarder(port = PORT): Forwarder {
  let open = 0;

  return {
    async ask(message, query, protocol, servers) {
      if (open >= QUERIES_MOST) return "busy";
      open++;
      // an id of our own, and a source port that the kernel chooses: both have to be guessed by whoever would forge an answer
      const question = Buffer.from(message);
      question.writeUInt16BE(randomInt(65536), 0);
      const ask = protocol === "udp" ? askUdp : askTcp;
      try {
        const reply = await race(servers.slice(0, SERVERS_MOST), (server) => ask(server, port, question, query));
        if (reply === undefined) return undefined;
        const answer = Buffer.from(reply);
        answer.writeUInt16BE(query.id, 0);
        return answer;
      } finally {
        open--;
      }
    },
  };
}

const isGood = (reply: Uint8Array): boolean => codeOf(reply) !== responseCode.serverFailure && codeOf(reply) !== responseCode.refused;

/** Starts attempts one after another: the next when the last has failed or said nothing for a while. */
async function race(servers: readonly string[], start: (server: string) => Attempt): Promise<Uint8Array | undefined> {
  const attempts: Attempt[] = [];
  let bad: Uint8Array | undefined;
  const done = Promise.withResolvers<Uint8Array | undefined>();
  let pending = 0;
  let next = 0;
  let isOver = false;
  let stagger: ReturnType<typeof setTimeout> | undefined;

  const startNext = (): void => {
    clearTimeout(stagger);
    // an attempt that is cancelled ends too: none may follow it, since nobody would cancel that one
    if (isOver) return;
    const server = servers[next++];
    if (server === undefined) {
      if (pending === 0) done.resolve(bad);
      return;
    }
    const attempt = start(server);
    attempts.push(attempt);
    pending++;
    void attempt.reply.then((reply) => {
      pending--;
      if (reply !== undefined && isGood(reply)) return done.resolve(reply);
      bad ??= reply;
      startNext();
    });
    stagger = setTimeout(startNext, STAGGER_MS);
  };

  startNext();
  const deadline = setTimeout(() => done.resolve(bad), DEADLINE_MS);
  const result = await done.promise;
  isOver = true;
  clearTimeout(deadline);
  clearTimeout(stagger);
  for (const attempt of attempts) attempt.cancel();
  return result;
}

function askUdp(server: string, port: number, question: Buffer, query: Query): Attempt {
  const reply = Promise.withResolvers<Uint8Array | undefined>();
  let flow: UdpFlow | undefined;
  let cancelled = false;
  const receive = (data: Uint8Array): void => {
    const copy = Buffer.from(data); // Bun reuses the buffer
    if (copy.length >= 12 && copy.readUInt16BE(0) === question.readUInt16BE(0) && answersQuestion(copy, question, query)) reply.resolve(copy);
  };
  connectUdp(server, port, receive, () => reply.resolve(undefined)).then(
    (opened) => {
      if (cancelled) return opened.close();
      flow = opened;
      flow.send(question);
    },
    () => reply.resolve(undefined),
  );
  const cancel = (): void => {
    cancelled = true;
    flow?.close();
    flow = undefined;
    reply.resolve(undefined);
  };
  return { reply: reply.promise, cancel };
}

function askTcp(server: string, port: number, question: Buffer, query: Query): Attempt {
  const reply = Promise.withResolvers<Uint8Array | undefined>();
  const socket = connect({ host: server, port });
  const chunks: Buffer[] = [];
  let size = 0;
  socket.on("connect", () => socket.write(framed(question)));
  socket.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    const all = size >= 2 ? Buffer.concat(chunks) : undefined;
    if (all === undefined || all.length < 2 + all.readUInt16BE(0)) return;
    const answer = all.subarray(2, 2 + all.readUInt16BE(0));
    const ours = answer.length >= 12 && answer.readUInt16BE(0) === question.readUInt16BE(0) && answersQuestion(answer, question, query);
    reply.resolve(ours ? answer : undefined);
    socket.destroy();
  });
  socket.on("error", () => reply.resolve(undefined));
  socket.on("close", () => reply.resolve(undefined));
  return { reply: reply.promise, cancel: () => socket.destroy() };
}

/** A message as TCP carries it: its length first. */
export function framed(message: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(message.length >> 8, message.length & 255), message]);
}
