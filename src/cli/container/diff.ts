import { defineCommand } from "../command.ts";

const letters = { 0: "C", 1: "A", 2: "D" } as const;

export const diff = defineCommand({
  name: "container diff",
  aliases: ["diff"],
  summary: "Inspect changes to files or directories on a container's file system",
  usage: "CONTAINER",
  flags: {},
  args: { min: 1, max: 1 },
  completes: "container",
  async run({ args, client, io }) {
    const changes = (await (await client()).containers.changes(args[0] as string)) ?? [];
    await io.out.write(changes.map(({ Kind: kind, Path: path }) => `${letters[kind]} ${path}\n`).join(""));
  },
});
