import { realtimeNano } from "../../kernel/clock.ts";
import { invalidArgument, kindOf, messageOf } from "../../lib/errors.ts";
import { parseTimestamp } from "../../lib/time.ts";
import type { LogRecord } from "../../logs/types.ts";
import { endpoint } from "../endpoint.ts";
import type { Query } from "../query.ts";
import { contentType, frame } from "../streams/frames.ts";
import { formatLogTime } from "../time.ts";

export const containerLogs = endpoint({
  method: "GET",
  path: "/containers/{id}/logs",
  handler: async ({ services, params, query, api, exchange, signal }) => {
    const [stdout, stderr] = [query.bool("stdout"), query.bool("stderr")];
    if (!stdout && !stderr) throw invalidArgument("Bad parameters: you must choose at least one stream");
    const tail = tailOf(query);
    const { tty, details, records } = services.containers.logs(params.id!, {
      stdout,
      stderr,
      follow: query.bool("follow"),
      signal,
      ...timeOf(query, "since"),
      ...timeOf(query, "until"),
      ...(tail === undefined ? {} : { tail }),
    });
    const stream = exchange.stream(200, { "Content-Type": contentType(tty, api) });
    const prefix = linePrefix(query, details);
    try {
      for await (const batch of records) await stream.write(encode(batch, tty, prefix));
    } catch (error) {
      if (signal.aborted || kindOf(error) === "cancelled") return;
      services.log.error("reading a container's log failed", { container: params.id, error });
      stream.write(frame("systemerr", Buffer.from(`Error grabbing logs: ${messageOf(error)}\n`)));
    }
    stream.end();
  },
});

/** undefined: all. Anything but a number of lines means all, as with dockerd. */
function tailOf(query: Query): number | undefined {
  const text = query.text("tail");
  return /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}

function timeOf<Name extends "since" | "until">(query: Query, name: Name): { [key in Name]?: bigint } {
  const text = query.text(name);
  if (text === "" || text === "0") return {};
  return { [name]: parseTimestamp(text, realtimeNano()) } as { [key in Name]?: bigint };
}

function linePrefix(query: Query, details: string): ((record: LogRecord) => string) | undefined {
  const [times, detailed] = [query.bool("timestamps"), query.bool("details")];
  if (!times && !detailed) return undefined;
  return ({ time }) => (times ? `${formatLogTime(time)} ` : "") + (detailed ? `${details} ` : "");
}

/** One frame a record, all records of a batch in one piece. */
function encode(batch: readonly LogRecord[], tty: boolean, prefix: ((record: LogRecord) => string) | undefined): Buffer {
  const pieces: Uint8Array[] = [];
  for (const record of batch) {
    const bytes = prefix === undefined ? record.bytes : Buffer.concat([Buffer.from(prefix(record)), record.bytes]);
    pieces.push(tty ? bytes : frame(record.stream, bytes));
  }
  return Buffer.concat(pieces);
}
