import type { EventMessage } from "../../client/types.ts";
import { defineCommand } from "../command.ts";
import { unescape } from "../format/output.ts";
import { parseFilters } from "../parse/filters.ts";
import { parseSince } from "../parse/time.ts";

export const events = defineCommand({
  name: "system events",
  aliases: ["events"],
  summary: "Get real time events from the engine",
  usage: "",
  flags: {
    filter: { type: "list", short: "f", help: "Filter output based on conditions provided", value: "filter" },
    format: { type: "string", help: "Format output: 'json' or a Go template" },
    since: { type: "string", help: "Show all events created since timestamp" },
    until: { type: "string", help: "Stream events until this timestamp" },
  },
  args: { min: 0, max: 0 },
  async run({ flags, client, io }) {
    const template = flags.format === "" || flags.format === "json" ? undefined : (await import("../format/template.ts")).parseTemplate(unescape(flags.format));
    const since = flags.since === "" ? undefined : parseSince(flags.since);
    const until = flags.until === "" ? undefined : parseSince(flags.until);
    const stream = await (await client()).system.events({ since, until, filters: parseFilters(flags.filter) });
    for await (const event of stream) {
      if (template !== undefined) await io.out.write(`${template.execute(event)}\n`);
      else await io.out.write(`${flags.format === "json" ? JSON.stringify(event) : eventText(event)}\n`);
    }
  },
});

/** `2026-08-02T10:00:00.000000000Z container start <id> (image=x, name=y)` */
function eventText({ time, timeNano, Type: type, Action: action, Actor: actor }: EventMessage): string {
  const attributes = Object.entries(actor.Attributes ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${value}`);
  const when = timeNano ? localTime(timeNano) : localTime(time * 1e9);
  return `${when} ${type} ${action} ${actor.ID}${attributes.length === 0 ? "" : ` (${attributes.join(", ")})`}`;
}

/** RFC 3339 in local time with nine digits; JSON numbers keep about 256 ns of it. */
function localTime(nanoseconds: number): string {
  const milliseconds = Math.floor(nanoseconds / 1e6);
  const date = new Date(milliseconds);
  const offset = -date.getTimezoneOffset();
  const two = (value: number): string => String(value).padStart(2, "0");
  const local = new Date(milliseconds + offset * 60_000).toISOString().slice(0, 19);
  const fraction = String(BigInt(Math.trunc(nanoseconds)) % 1_000_000_000n).padStart(9, "0");
  const zone = offset === 0 ? "Z" : `${offset < 0 ? "-" : "+"}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
  return `${local}.${fraction}${zone}`;
}
