import { connect, type Socket } from "node:net";
import { CALL, decodeMessage, type Decoded, encodeMessage, ERROR, type Encodable, type Message, messageLength, RETURN, SIGNAL } from "./dbus-wire.ts";

/** What a service answered instead of a result. */
class DbusError extends Error {
  /** As the bus names it, e.g. org.freedesktop.DBus.Error.UnknownMethod. */
  readonly errorName: string;

  constructor(errorName: string, text: string) {
    super(text === "" ? errorName : text);
    this.errorName = errorName;
  }
}

export interface Call {
  destination: string;
  path: string;
  interface: string;
  member: string;
  signature?: string;
  body?: readonly Encodable[];
}

/** A connection to a message bus. Dispose it to close. */
export interface Bus extends Disposable {
  /** What was answered. @throws DbusError; Error where the connection ended or no answer came in time */
  call(call: Call): Promise<Decoded[]>;
  /** What the bus itself answered. @throws as `call` */
  ask(member: string, ...texts: string[]): Promise<Decoded[]>;
  /** From now on signals that meet `rule` are told. */
  match(rule: string): Promise<void>;
}

export interface BusOptions {
  /** Its socket. */
  path: string;
  /** How long logging in, and each answer, may take. */
  answerMs: number;
  /** Its `sender` is the bus's word; everybody on the bus can send one. */
  onSignal(signal: Message): void;
  /** Nothing comes any more; not after a disposal. */
  onClose(): void;
}

/** The bus itself, as a service on it. */
const BUS = { destination: "org.freedesktop.DBus", path: "/org/freedesktop/DBus", interface: "org.freedesktop.DBus" } as const;

const MAX_LINE = 1024;

/**
 * Connects and logs in as this process's user: calls, answers and signals, without descriptors. A stranger's nonsense ends the connection.
 * @throws Error
 */
export async function connectBus(options: BusOptions): Promise<Bus> {
  const socket = connect(options.path).on("error", () => {}); // told by "close", too
  const waiting = new Map<number, PromiseWithResolvers<Decoded[]>>();
  let serial = 0;
  let closed = false;

  const end = (error: Error): boolean => {
    if (closed) return false;
    closed = true;
    socket.destroy();
    for (const entry of waiting.values()) entry.reject(error);
    waiting.clear();
    return true;
  };
  const lose = (error: Error): void => {
    if (end(error)) options.onClose();
  };

  const take = (message: Message): void => {
    if (message.type === SIGNAL) return options.onSignal(message);
    const entry = waiting.get(message.replySerial ?? 0);
    if (entry === undefined) return; // too late, or nobody's
    if (message.type === RETURN) entry.resolve(message.body);
    if (message.type === ERROR) entry.reject(new DbusError(message.errorName ?? "", typeof message.body[0] === "string" ? message.body[0] : ""));
  };

  const call = async (wanted: Call): Promise<Decoded[]> => {
    if (closed) throw new Error("the connection to the message bus is closed");
    const own = ++serial;
    const answer = Promise.withResolvers<Decoded[]>();
    waiting.set(own, answer);
    const timer = setTimeout(() => answer.reject(new Error(`${wanted.destination} doesn't answer (${wanted.member})`)), options.answerMs);
    socket.write(encodeMessage({ ...wanted, type: CALL, serial: own }));
    try {
      return await answer.promise;
    } finally {
      clearTimeout(timer);
      waiting.delete(own);
    }
  };

  const ask = (member: string, ...texts: string[]): Promise<Decoded[]> => call({ ...BUS, member, signature: "s".repeat(texts.length), body: texts });

  await logIn(socket, options.answerMs);
  socket.on("close", () => lose(new Error("the message bus closed the connection")));
  let pending: Buffer = Buffer.alloc(0);
  socket.on("data", (data: Buffer) => {
    pending = pending.length === 0 ? data : Buffer.concat([pending, data]);
    try {
      for (let length = messageLength(pending); length !== undefined && length <= pending.length && !closed; length = messageLength(pending)) {
        const message = decodeMessage(pending.subarray(0, length));
        pending = pending.subarray(length);
        take(message);
      }
    } catch (error) {
      lose(error as Error);
    }
  });
  const bus: Bus = {
    call,
    ask,
    match: async (rule) => void (await ask("AddMatch", rule)),
    [Symbol.dispose]: () => void end(new Error("the connection to the message bus was closed")),
  };
  try {
    await ask("Hello");
  } catch (error) {
    bus[Symbol.dispose]();
    throw error;
  }
  return bus;
}

/** SASL's mechanism EXTERNAL: the bus asks the kernel who we are. @throws Error */
async function logIn(socket: Socket, answerMs: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let line = "";
  const onData = (data: Buffer): void => {
    line += data.toString("latin1");
    if (line.startsWith("OK ") && line.endsWith("\r\n")) resolve();
    else if (line.includes("\n") || line.length > MAX_LINE) reject(new Error(`the message bus lets us not in: ${line.trim().slice(0, 80)}`));
  };
  const onEnd = (): void => reject(new Error("the message bus closed the connection"));
  const timer = setTimeout(() => reject(new Error("the message bus doesn't answer")), answerMs);
  socket.on("data", onData).on("error", reject).on("close", onEnd);
  try {
    socket.write(`\0AUTH EXTERNAL ${Buffer.from(String(process.geteuid?.() ?? 0)).toString("hex")}\r\n`);
    await promise;
    socket.write("BEGIN\r\n");
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
    socket.off("data", onData).off("error", reject).off("close", onEnd);
  }
}
