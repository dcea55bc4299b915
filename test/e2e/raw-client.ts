import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { until } from "./harness.ts";

/** A client of its own kind: sends a request as text and does what no library would. */
export class RawClient {
  readonly socket: Socket;
  readonly #pieces: Buffer[] = [];
  readonly ended: Promise<void>;

  constructor(path: string, request: string | Buffer) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    this.socket = connect({ path, allowHalfOpen: true });
    this.socket.on("data", (chunk: Buffer) => void this.#pieces.push(chunk));
    this.socket.on("end", resolve);
    this.socket.on("close", () => resolve());
    this.socket.on("error", () => {});
    this.socket.write(request);
  }

  get received(): Buffer {
    return Buffer.concat(this.#pieces);
  }

  /** Status line and headers, once they are there; the socket goes on reading. */
  async head(): Promise<string> {
    return await until("the head of an answer", () => /^[\s\S]*?\r\n\r\n/.exec(this.received.toString("latin1"))?.[0]);
  }
}

/** What frames of several streams carry, in their order. */
export function payloadOf(frames: Buffer): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at < frames.length; at += 8 + frames.readUInt32BE(at + 4)) pieces.push(frames.subarray(at + 8, at + 8 + frames.readUInt32BE(at + 4)));
  return Buffer.concat(pieces);
}

/** What an engine's process holds: descriptors by what they are, and its children by name. Not those of Workers, which stay once they were needed. */
export function holdings(pid: number): string[] {
  const descriptors = readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).replace(/\d+\]$/, "]");
    } catch {
      return []; // closed meanwhile
    }
  });
  const children = readdirSync(`/proc/${pid}/task`).flatMap((thread) => textOf(`/proc/${pid}/task/${thread}/children`).split(" ").filter(Boolean));
  // cgroup.procs is open for a moment after each start (kernel/cgroup-migration.ts)
  const own = descriptors.filter((each) => !/^anon_inode:\[(eventfd|eventpoll)\]$|\/cgroup\.procs$/.test(each));
  return [...own, ...children.map((child) => `process ${textOf(`/proc/${child}/comm`).trim()}`)].toSorted();
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // ended meanwhile
  }
}
