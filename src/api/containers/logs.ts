import { realtimeNano } from "../../kernel/clock.ts";
import { invalidArgument, kindOf, messageOf } from "../../lib/errors.ts";
import { parseTimestamp } from "../../lib/time.ts";
import { endpoint } from "../endpoint.ts";
import type { Query } from "../query.ts";
import { contentType, frame } from "../streams/frames.ts";
import { encodeLog } from "../streams/log-frames.ts";

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
    const format = { framed: !tty, timestamps: query.bool("timestamps"), prefix: query.bool("details") ? `${details()} ` : "" };
    const stream = exchange.stream(200, { "Content-Type": contentType(tty, api) });
    try {
      let memory: Buffer | undefined;
      for await (const batch of records) {
        const bytes = encodeLog(batch, format, memory);
        const drained = stream.write(bytes);
        await drained;
        // What went out at once may still lie in a queue; the kernel has it all only after a drain.
        memory = drained === undefined ? undefined : Buffer.from(bytes.buffer, 0, bytes.buffer.byteLength);
      }
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
  return /^\+?\d{1,9}$/.test(text) ? Number(text) : undefined;
}

function timeOf<Name extends "since" | "until">(query: Query, name: Name): { [key in Name]?: bigint } {
  const text = query.text(name);
  if (text === "" || text === "0") return {};
  return { [name]: parseTimestamp(text, realtimeNano()) } as { [key in Name]?: bigint };
}
