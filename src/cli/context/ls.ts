import { defaultHost } from "../../client/host.ts";
import { defineCommand } from "../command.ts";
import { writeList, type ListFormat, type Row } from "../format/output.ts";
import { currentContext, listContexts } from "./store.ts";

const format: ListFormat = {
  headings: { Name: "NAME", Current: "CURRENT", Description: "DESCRIPTION", DockerEndpoint: "DOCKER ENDPOINT", Error: "ERROR" },
  columns: ["NameShown", "Description", "DockerEndpoint", "Error"],
  shrinkable: ["Description", "DockerEndpoint"],
  quiet: "Name",
};

export const ls = defineCommand({
  name: "context ls",
  aliases: ["context list"],
  summary: "List contexts",
  usage: "",
  flags: {
    format: { type: "string", help: "Format output: 'table', 'table TEMPLATE', 'json' or a Go template" },
    quiet: { type: "bool", short: "q", help: "Only show context names" },
  },
  args: { min: 0, max: 0 },
  async run({ flags, io, config, env }) {
    const current = await currentContext(config, env);
    const row = (Name: string, Description: string, DockerEndpoint: string): Row => ({
      Name,
      NameShown: Name === current ? `${Name} *` : Name,
      Current: Name === current,
      Description,
      DockerEndpoint,
      Error: "",
    });
    const stored = await listContexts(config);
    const rows = [
      row("default", "Current DOCKER_HOST based configuration", env.BERTH_HOST || env.DOCKER_HOST || defaultHost),
      ...stored.map(({ name, description, host }) => row(name, description, host ?? "")),
    ];
    await writeList(io.out, rows, { ...format, headings: { ...format.headings, NameShown: "NAME" } }, { format: flags.format, quiet: flags.quiet });
  },
});
