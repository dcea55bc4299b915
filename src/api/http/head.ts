/**
 * The head of an HTTP/1.x request (RFC 9112), as strict as Go's net/http where a lenient reading could be abused, as lenient
 * where clients need it (bare LF, any number of headers up to a limit).
 */

import { BadRequest, type Framing } from "../../lib/http-body.ts";

/** Header names in lower case. Repeated headers are joined by ", ". */
export type Headers = Readonly<Record<string, string | undefined>>;

export interface RequestHead {
  method: string;
  /** As it stood in the request line: never decoded, never normalised. */
  target: string;
  /** 0 or 1, of HTTP/1.x. */
  minor: 0 | 1;
  headers: Headers;
  framing: Framing;
  keepAlive: boolean;
  expectContinue: boolean;
  /** The Upgrade header where Connection names it. */
  upgrade: string | undefined;
}

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
// a header value holds no control character but the tab (RFC 9110 section 5.5)
const badValue = /[\x00-\x08\x0a-\x1f\x7f]/;
// a target holds neither controls nor spaces
const badTarget = /[\x00-\x20\x7f]/;
const maxHeaders = 2000;

/** Parses a head without its last empty line. `bytes` are read as latin1. @throws BadRequest */
export function parseHead(bytes: Buffer): RequestHead {
  const text = bytes.toString("latin1");
  let end = lineEnd(text, 0);
  const [method, target, minor] = parseRequestLine(stripCR(text.slice(0, end)));
  const headers: Record<string, string | undefined> = Object.create(null);
  let count = 0;
  for (let start = end + 1; start < text.length; start = end + 1) {
    end = lineEnd(text, start);
    const line = stripCR(text.slice(start, end));
    if (++count > maxHeaders) throw new BadRequest(431, `more than ${maxHeaders} request headers`);
    addHeader(headers, line);
  }
  return { method, target, minor, headers, ...interpret(headers, minor) };
}

function lineEnd(text: string, from: number): number {
  const at = text.indexOf("\n", from);
  return at < 0 ? text.length : at;
}

function stripCR(line: string): string {
  return line.endsWith("\r") ? line.slice(0, -1) : line;
}

function parseRequestLine(line: string): [string, string, 0 | 1] {
  const first = line.indexOf(" ");
  const last = line.lastIndexOf(" ");
  if (first <= 0 || last === first) throw new BadRequest(400, "malformed request line");
  const method = line.slice(0, first);
  let target = line.slice(first + 1, last);
  const version = line.slice(last + 1);
  if (!token.test(method)) throw new BadRequest(400, "malformed method in the request line");
  if (target === "" || badTarget.test(target)) throw new BadRequest(400, "malformed target in the request line");
  if (!/^HTTP\/\d\.\d$/.test(version)) throw new BadRequest(400, "malformed HTTP version in the request line");
  if (version[5] !== "1" || (version[7] !== "1" && version[7] !== "0")) throw new BadRequest(505, `unsupported protocol version ${version}`);
  // absolute form, as proxies get it: what follows the authority is the target
  const absolute = /^https?:\/\/[^/?#]*/i.exec(target);
  if (absolute) target = target.slice(absolute[0].length) || "/";
  if (target.startsWith("?")) target = "/" + target;
  if (!target.startsWith("/") && target !== "*") throw new BadRequest(400, "malformed target in the request line");
  return [method, target, version[7] === "1" ? 1 : 0];
}

function addHeader(headers: Record<string, string | undefined>, line: string): void {
  const colon = line.indexOf(":");
  const name = line.slice(0, Math.max(colon, 0));
  // a leading blank is obsolete line folding, a blank before the colon a smuggling vector: both fail as no token
  if (!token.test(name)) throw new BadRequest(400, "malformed header line");
  const value = line.slice(colon + 1).trim();
  if (badValue.test(value)) throw new BadRequest(400, `malformed value of header ${name}`);
  const key = name.toLowerCase();
  const before = headers[key];
  if (before === undefined) headers[key] = value;
  else if (key === "host" || key === "transfer-encoding") throw new BadRequest(400, `header ${name} given twice`);
  else if (key !== "content-length") headers[key] = `${before}, ${value}`;
  else if (before !== value) throw new BadRequest(400, "contradicting Content-Length headers");
}

function interpret(headers: Headers, minor: 0 | 1): Omit<RequestHead, "method" | "target" | "minor" | "headers"> {
  if (minor === 1 && headers.host === undefined) throw new BadRequest(400, "missing required Host header");
  const connection = headers.connection?.toLowerCase().split(/[\s,]+/) ?? [];
  const both = headers["transfer-encoding"] !== undefined && headers["content-length"] !== undefined;
  return {
    framing: framingOf(headers, minor),
    // with both framings the peer and we may disagree on where the next request starts: serve one, then close
    keepAlive: !both && (minor === 1 ? !connection.includes("close") : connection.includes("keep-alive")),
    expectContinue: minor === 1 && headers.expect?.toLowerCase() === "100-continue",
    upgrade: connection.includes("upgrade") ? headers.upgrade : undefined,
  };
}

function framingOf(headers: Headers, minor: 0 | 1): Framing {
  const encoding = headers["transfer-encoding"];
  if (encoding !== undefined && minor === 1) {
    if (encoding.toLowerCase() !== "chunked") throw new BadRequest(501, `unsupported transfer encoding ${JSON.stringify(encoding)}`);
    return { kind: "chunked" };
  }
  const length = headers["content-length"];
  if (length === undefined) return { kind: "none" };
  if (!/^\d{1,15}$/.test(length)) throw new BadRequest(400, `malformed Content-Length ${JSON.stringify(length)}`);
  return length === "0" ? { kind: "none" } : { kind: "length", length: Number(length) };
}

/**
 * Finds the end of a head in bytes that arrive in pieces, looking at each byte once.
 * `push` returns the head's bytes and what follows, or undefined while it is incomplete.
 */
export class HeadScanner {
  #pieces: Buffer[] = [];
  #length = 0;
  /** Bytes since the last LF that are no CR. */
  #line = 0;
  #seenLine = false;

  /** Bytes held. */
  get length(): number {
    return this.#length;
  }

  push(chunk: Buffer): { head: Buffer; rest: Buffer } | undefined {
    if (this.#length === 0) chunk = skipEmptyLines(chunk);
    for (let from = 0; ;) {
      const at = chunk.indexOf(10, from);
      if (at < 0) {
        this.#line += chunk.length - from - (chunk.at(-1) === 13 && chunk.length > from ? 1 : 0);
        break;
      }
      const text = at - from - (at > from && chunk[at - 1] === 13 ? 1 : 0) + this.#line;
      if (text === 0 && this.#seenLine) return this.#finish(chunk, at + 1);
      this.#line = 0;
      this.#seenLine = true;
      from = at + 1;
    }
    if (chunk.length > 0) this.#pieces.push(chunk);
    this.#length += chunk.length;
    return undefined;
  }

  #finish(chunk: Buffer, end: number): { head: Buffer; rest: Buffer } {
    const last = chunk.subarray(0, end);
    const head = this.#pieces.length === 0 ? last : Buffer.concat([...this.#pieces, last]);
    this.#pieces = [];
    this.#length = 0;
    this.#line = 0;
    this.#seenLine = false;
    return { head: trimEnd(head), rest: chunk.subarray(end) };
  }
}

/** Empty lines before a request line are to be ignored (RFC 9112 section 2.2). */
function skipEmptyLines(chunk: Buffer): Buffer {
  let start = 0;
  while (start < chunk.length && (chunk[start] === 13 || chunk[start] === 10)) start++;
  return start === 0 ? chunk : chunk.subarray(start);
}

function trimEnd(head: Buffer): Buffer {
  let end = head.length;
  while (end > 0 && (head[end - 1] === 10 || head[end - 1] === 13)) end--;
  return head.subarray(0, end);
}
