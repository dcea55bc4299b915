import { EngineError, type ErrorKind, internal, kindOf, messageOf } from "./errors.ts";
import { startWorker, type WorkerHandle } from "./worker.ts";

/** Questions to one Worker, each of which has one answer. The Worker starts with the first; where it dies, the next question starts another. */
export interface WorkerCalls<Question, Answer> extends Disposable {
  /** @throws EngineError of the kind and with the words of what the Worker threw; internal where it died before it answered */
  call(question: Question, transfer?: ArrayBuffer[]): Promise<Answer>;
  /** How many wait for their answers. */
  readonly open: number;
}

export interface Asked<Question> {
  id: number;
  question: Question;
}
export type Answered<Answer> = { id: number; answer: Answer } | { id: number; error: string; errorKind: ErrorKind };

/** `path`: of the Worker, as startWorker takes it; it answers by `answerCalls`. */
export function createWorkerCalls<Question, Answer>(path: string): WorkerCalls<Question, Answer> {
  let calls: Calls<Question, Answer> | undefined;
  let worker: WorkerHandle<Asked<Question>, Answered<Answer>> | undefined;

  const start = (): Calls<Question, Answer> => {
    const started = startWorker<Asked<Question>, Answered<Answer>>(path);
    const own = callsOver<Question, Answer>(started);
    started.onError((error) => {
      worker = undefined;
      calls = undefined;
      own.abandon(error);
    });
    worker = started;
    return own;
  };

  return {
    call(question, transfer) {
      calls ??= start();
      return calls.call(question, transfer);
    },
    get open() {
      return calls?.open ?? 0;
    },
    [Symbol.dispose]() {
      worker?.[Symbol.dispose]();
      worker = undefined;
      calls = undefined;
    },
  };
}

/** Questions to a Worker that somebody else started, and that may have others to answer, too. */
export interface Calls<Question, Answer> extends Pick<WorkerCalls<Question, Answer>, "call" | "open"> {
  /** It has died: none of them will be answered. */
  abandon(error: Error): void;
}

export function callsOver<Question, Answer>(worker: WorkerHandle<Asked<Question>, Answered<Answer> | { id: number; kind: string }>): Calls<Question, Answer> {
  const waiting = new Map<number, PromiseWithResolvers<Answer>>();
  let last = 0;
  worker.onMessage((message) => {
    if ("kind" in message) return;
    const one = waiting.get(message.id);
    waiting.delete(message.id);
    if ("error" in message) one?.reject(new EngineError(message.errorKind, message.error));
    else one?.resolve(message.answer);
  });
  return {
    call(question, transfer) {
      const id = ++last;
      const one = Promise.withResolvers<Answer>();
      waiting.set(id, one);
      worker.post({ id, question }, transfer);
      return one.promise;
    },
    get open() {
      return waiting.size;
    },
    abandon(error) {
      for (const one of waiting.values()) one.reject(internal(error.message, error));
      waiting.clear();
    },
  };
}

/** Of a Worker. */
declare const self: {
  addEventListener(type: "message", listener: (event: { data: Asked<never> | { kind: string } }) => void): void;
  postMessage(message: Answered<unknown>, transfer: ArrayBuffer[]): void;
};

/** The Worker's side, called once. What `answer` throws is told: thrown on, it would end the Worker. `transfer`: buffers that go with an answer. */
export function answerCalls<Question, Answer>(answer: (question: Question) => Answer, transfer: (given: Answer) => ArrayBuffer[] = () => []): void {
  self.addEventListener("message", ({ data }) => {
    // an order of another kind (spawn-server.ts)
    if ("kind" in data) return;
    const { id, question } = data;
    try {
      const given = answer(question);
      self.postMessage({ id, answer: given }, transfer(given));
    } catch (error) {
      self.postMessage({ id, error: messageOf(error), errorKind: kindOf(error) }, []);
    }
  });
}
