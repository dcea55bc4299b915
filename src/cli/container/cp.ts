import { defineCommand } from "../command.ts";
import { CliError } from "../errors.ts";
import { copyFromContainer, copyToContainer } from "./copy.ts";

export const cp = defineCommand({
  name: "container cp",
  aliases: ["cp"],
  summary: "Copy files between a container and the local file system",
  description:
    "Copies files or folders between a container and the local file system.\nUse '-' as the source to read a tar archive from stdin and extract it to a\nfolder in a container, and '-' as the destination to write one to stdout.",
  usage: "CONTAINER:SRC_PATH DEST_PATH|- | SRC_PATH|- CONTAINER:DEST_PATH",
  flags: {
    archive: { type: "bool", short: "a", help: "Archive mode (copy all uid/gid information)" },
    "follow-link": { type: "bool", short: "L", help: "Always follow symbol link in SRC_PATH" },
    quiet: { type: "bool", short: "q", help: "Suppress progress output during copy" },
  },
  args: { min: 2, max: 2 },
  completes: "container",
  async run({ flags, args, client, io }) {
    const [source, destination] = args.map(splitArgument) as [Location, Location];
    const options = { keepOwner: flags.archive, followLink: flags["follow-link"] };
    // As Docker: to people only.
    const tells = !flags.quiet && io.err.columns() > 0;
    if (source.container !== undefined && destination.container !== undefined) throw new CliError("copying between containers is not supported");
    if (source.container !== undefined) {
      await copyFromContainer(await client(), io, { container: source.container, path: source.path }, destination.path, options);
      if (destination.path !== "-" && tells) await io.err.write(`Successfully copied ${args[0]} to ${destination.path}\n`);
    } else if (destination.container !== undefined) {
      await copyToContainer(await client(), io, source.path, { container: destination.container, path: destination.path }, options);
      if (source.path !== "-" && tells) await io.err.write(`Successfully copied ${source.path} to ${args[1]}\n`);
    } else throw new CliError("must specify at least one container source");
  },
});

interface Location {
  container?: string;
  path: string;
}

/** `container:/path`; a path that begins with a slash or a dot is local, whatever colons it has. */
function splitArgument(argument: string): Location {
  const colon = argument.indexOf(":");
  if (colon <= 0 || argument.startsWith("/") || argument.startsWith(".")) return { path: argument };
  return { container: argument.slice(0, colon), path: argument.slice(colon + 1) };
}
