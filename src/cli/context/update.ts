import { defineCommand } from "../command.ts";
import { contextFlags, parseEndpoint } from "./endpoint.ts";
import { checkName, readContext, writeContext } from "./store.ts";

export const update = defineCommand({
  name: "context update",
  summary: "Update a context",
  usage: "CONTEXT",
  flags: {
    ...contextFlags,
  },
  args: { min: 1, max: 1 },
  async run({ flags, args, io, config }) {
    const name = args[0] as string;
    checkName(name);
    const before = await readContext(config, name);
    // as in Docker, an endpoint that is given replaces the old one as a whole
    const { host, skipVerify, pems } = await parseEndpoint(flags.docker, flags.docker === "" ? before : undefined);
    const Metadata = { ...before.meta.Metadata, ...(flags.description === "" ? {} : { Description: flags.description }) };
    const Endpoints = { ...before.meta.Endpoints, docker: { Host: host, SkipTLSVerify: skipVerify } };
    await writeContext(config, { ...before.meta, Metadata, Endpoints }, pems);
    await io.out.write(`${name}\n`);
    await io.err.write(`Successfully updated context ${JSON.stringify(name)}\n`);
  },
});
