import { defineCommand } from "../command.ts";
import { contextFlags, parseEndpoint } from "./endpoint.ts";
import { checkNewName, readContext, writeContext } from "./store.ts";

export const create = defineCommand({
  name: "context create",
  summary: "Create a context",
  usage: "CONTEXT",
  flags: {
    ...contextFlags,
    from: { type: "string", help: "Create context from a named context" },
  },
  args: { min: 1, max: 1 },
  async run({ flags, args, io, config }) {
    const name = args[0] as string;
    await checkNewName(config, name);
    const base = flags.from === "" || flags.from === "default" ? undefined : await readContext(config, flags.from);
    const { host, skipVerify, pems } = await parseEndpoint(flags.docker, base);
    const Metadata = flags.description === "" ? {} : { Description: flags.description };
    await writeContext(config, { Name: name, Metadata, Endpoints: { docker: { Host: host, SkipTLSVerify: skipVerify } } }, pems);
    await io.out.write(`${name}\n`);
    await io.err.write(`Successfully created context ${JSON.stringify(name)}\n`);
  },
});
