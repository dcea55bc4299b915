import { randomBytes } from "node:crypto";
import { formatNano } from "../lib/time.ts";
import { extraAttributes, logTag, type LogSource } from "./attributes.ts";
import { parseCriTime } from "./cri.ts";
import type { Format, Sink } from "./sink.ts";
import { socketSink } from "./sockets.ts";

/** Where systemd-journald takes messages in its native protocol (systemd's doc/JOURNAL_NATIVE_PROTOCOL). */
const journalSocket = "/run/systemd/journal/socket";

/** The driver `journald`: Docker's fields, and those that the options name. */
export function journaldSink(source: LogSource, path = journalSocket): Sink {
  const sink = socketSink([{ kind: "unixgram", path }], journalFormat(source));
  return {
    ...sink,
    isStream: false,
    connect: async (signal) => {
      try {
        await sink.connect(signal);
      } catch (error) {
        throw new Error("journald is not enabled on this host", { cause: error });
      }
    },
  };
}

export function journalFormat(source: LogSource): Format {
  const tag = logTag(source);
  const fields = new Map([
    ["CONTAINER_ID", source.id.slice(0, 12)],
    ["CONTAINER_ID_FULL", source.id],
    ["CONTAINER_NAME", source.name],
    ["CONTAINER_TAG", tag],
    ["IMAGE_NAME", source.imageName],
    ["SYSLOG_IDENTIFIER", tag],
    ["CONTAINER_LOG_EPOCH", randomBytes(32).toString("hex")],
    ...extraAttributes(source, fieldName),
  ]);
  fields.delete("");
  const fixed = Buffer.concat([...fields].map(([name, value]) => field(name, Buffer.from(value))));
  let ordinal = 0;
  return ({ stream, time, text, partial }) => {
    const parts = [
      field("MESSAGE", text),
      Buffer.from(`PRIORITY=${stream === "stderr" ? 3 : 6}\nSYSLOG_TIMESTAMP=${formatNano(parseCriTime(time) ?? 0n)}\nCONTAINER_LOG_ORDINAL=${++ordinal}\n`),
      fixed,
    ];
    if (partial !== undefined) {
      const { id, ordinal: piece, isLast } = partial;
      const more = isLast ? "" : "CONTAINER_PARTIAL_MESSAGE=true\n";
      parts.push(Buffer.from(`CONTAINER_PARTIAL_ID=${id}\nCONTAINER_PARTIAL_ORDINAL=${piece}\nCONTAINER_PARTIAL_LAST=${isLast}\n${more}`));
    }
    return Buffer.concat(parts);
  };
}

/** A value with newlines goes with its length (64 bits, little endian) instead of an equals sign. */
function field(name: string, value: Buffer): Buffer {
  if (!value.includes(0x0a)) return Buffer.concat([Buffer.from(`${name}=`), value, Buffer.from("\n")]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(value.length));
  return Buffer.concat([Buffer.from(`${name}\n`), length, value, Buffer.from("\n")]);
}

/** The journal takes capital letters, digits and underscores, none of those at the beginning. */
function fieldName(name: string): string {
  return [...name]
    .map((letter) => (/[a-z]/.test(letter) ? letter.toUpperCase() : /[A-Z0-9]/.test(letter) ? letter : "_"))
    .join("")
    .replace(/^_+/, "");
}
