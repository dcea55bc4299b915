import { demultiplex } from "../../client/streams.ts";
import { defineCommand } from "../command.ts";
import { parseSince } from "../parse/time.ts";

export const logs = defineCommand({
  name: "container logs",
  aliases: ["logs"],
  summary: "Fetch the logs of a container",
  usage: "CONTAINER",
  flags: {
    details: { type: "bool", help: "Show extra details provided to logs" },
    follow: { type: "bool", short: "f", help: "Follow log output" },
    since: { type: "string", help: 'Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)' },
    tail: { type: "string", short: "n", help: "Number of lines to show from the end of the logs", default: "all" },
    timestamps: { type: "bool", short: "t", help: "Show timestamps" },
    until: { type: "string", help: 'Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)' },
  },
  args: { min: 1, max: 1 },
  completes: "container",
  async run({ flags, args, client, io }) {
    const engine = await client();
    const { details, follow, tail, timestamps } = flags;
    const { Id: id, Config: config } = await engine.containers.inspect(args[0] as string);
    const answer = await engine.containers.logs(id, {
      stdout: true,
      stderr: true,
      details,
      follow,
      tail,
      timestamps,
      since: flags.since === "" ? undefined : parseSince(flags.since),
      until: flags.until === "" ? undefined : parseSince(flags.until),
    });
    if (answer.body === null) return;
    if (config.Tty === true) {
      for await (const chunk of answer.body) await io.out.write(chunk);
      return;
    }
    await demultiplex(answer.body, (stream, payload) => (stream === 2 ? io.err.write(payload) : io.out.write(payload)));
  },
});
