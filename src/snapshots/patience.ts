import { awaitFd } from "../kernel/poll.ts";

/** How long a wait blocks the thread before it lets others in, in milliseconds. */
const blocked = 1;
/** Between two looks at a client that is slow, in milliseconds: twice as long each time. */
const pauses = { first: 1, most: 64 };

/** Waiting for a client: a quick one is about to go on, a slow one mustn't hold the thread, nor cost anything. */
export class Patience {
  readonly #fd: number;
  readonly #direction: "read" | "write";
  readonly #rest: (milliseconds: number) => Promise<void>;
  #waits = 0;

  constructor(fd: number, direction: "read" | "write", rest: (milliseconds: number) => Promise<void>) {
    this.#fd = fd;
    this.#direction = direction;
    this.#rest = rest;
  }

  /** The client went on. */
  reward(): void {
    this.#waits = 0;
  }

  /** Whether there is something to do after a moment; otherwise `wait`. */
  isReady(): boolean {
    return awaitFd(this.#fd, this.#direction, this.#waits === 0 ? blocked : 0);
  }

  async wait(): Promise<void> {
    await this.#rest(Math.min(pauses.most, pauses.first * 2 ** this.#waits));
    this.#waits++;
  }
}
