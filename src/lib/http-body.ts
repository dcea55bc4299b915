/** How the body of an HTTP/1.x request ends (RFC 9112, section 6.3). */
export type Framing = { kind: "none" } | { kind: "length"; length: number } | { kind: "chunked" };

/** A request that isn't HTTP: answered with `status`, then the connection is closed. */
export class BadRequest extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = "BadRequest";
    this.status = status;
  }
}

/** Longest line of a chunk's size with its extensions, as in Go. */
const maxSizeLine = 4096;
/** Trailers are read and dropped. */
const maxTrailers = 64 * 1024;

/**
 * Cuts a request's body out of the bytes of its connection. `take` consumes from the front of a buffer and says how many bytes
 * it used; the rest belongs to the next request (or to a hijacked stream).
 */
export class BodyDecoder {
  #state: "data" | "size" | "dataEnd" | "trailer" | "done";
  readonly #chunked: boolean;
  /** Bytes left of the present chunk or of the body. */
  #left = 0;
  #line = "";
  #trailers = 0;

  constructor(framing: Framing) {
    this.#chunked = framing.kind === "chunked";
    this.#state = framing.kind === "none" ? "done" : framing.kind === "length" ? "data" : "size";
    if (framing.kind === "length") this.#left = framing.length;
  }

  get done(): boolean {
    return this.#state === "done";
  }

  /** Bytes of the body that are still to come; Infinity where nobody knows. */
  get left(): number {
    if (this.done) return 0;
    return this.#chunked ? Infinity : this.#left;
  }

  /** One piece of the body from `input`, which isn't copied. `data` is empty where only framing was read. @throws BadRequest */
  take(input: Buffer): { data: Buffer; used: number } {
    let used = 0;
    while (used < input.length && this.#state !== "done") {
      if (this.#state === "data") {
        const size = Math.min(this.#left, input.length - used);
        const data = input.subarray(used, used + size);
        this.#left -= size;
        used += size;
        if (this.#left === 0) this.#state = this.#chunked ? "dataEnd" : "done";
        if (this.#state === "dataEnd") used += this.#finishLine(input.subarray(used));
        return { data, used };
      }
      used += this.#finishLine(input.subarray(used));
    }
    return { data: input.subarray(0, 0), used };
  }

  /** Reads framing up to the end of a line, or all there is. Returns the bytes used. */
  #finishLine(input: Buffer): number {
    const at = input.indexOf(10);
    const part = input.toString("latin1", 0, at < 0 ? input.length : at);
    this.#line += part;
    if (this.#line.length > maxSizeLine) throw new BadRequest(400, "line too long in a chunked body");
    if (at < 0) return input.length;
    const line = this.#line.endsWith("\r") ? this.#line.slice(0, -1) : this.#line;
    this.#line = "";
    this.#onLine(line);
    return at + 1;
  }

  #onLine(line: string): void {
    if (this.#state === "dataEnd") {
      if (line !== "") throw new BadRequest(400, "malformed chunked body: chunk longer than its size");
      this.#state = "size";
    } else if (this.#state === "size") {
      const size = /^([0-9a-fA-F]{1,12})[ \t]*(?:;.*)?$/.exec(line);
      if (!size) throw new BadRequest(400, "malformed chunked body: bad chunk size");
      this.#left = Number.parseInt(size[1]!, 16);
      this.#state = this.#left === 0 ? "trailer" : "data";
    } else {
      this.#trailers += line.length;
      if (this.#trailers > maxTrailers) throw new BadRequest(400, "trailers too long");
      if (line === "") this.#state = "done";
    }
  }
}
