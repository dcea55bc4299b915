import { writeArchive } from "../archive.ts";
import { defineCommand } from "../command.ts";
import { counted, withBar } from "./bar.ts";

export const exportVolume = defineCommand({
  name: "volume export",
  summary: "Write a volume's files as a tar archive",
  description:
    'To standard output by default. Owners, modes, times, ACLs, extended attributes of users, links and holes are in it; "volume import" and tar read it.',
  usage: "VOLUME",
  flags: {
    output: { type: "string", short: "o", help: "Write to a file, instead of STDOUT" },
    pause: { type: "bool", short: "p", help: "Freeze containers that write to the volume meanwhile" },
  },
  args: { min: 1, max: 1 },
  completes: "volume",
  async run({ flags, args, client, io }) {
    const [name = ""] = args;
    await withBar(io, name, "Exporting", 0, (count) =>
      writeArchive(io, flags.output, async () => {
        const { body } = await (await client()).volumes.export(name, { pause: flags.pause });
        return new Response(body === null ? null : counted(body, count));
      }),
    );
  },
});
