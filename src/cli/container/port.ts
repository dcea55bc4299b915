import { defineCommand } from "../command.ts";
import { CliError } from "../errors.ts";

export const port = defineCommand({
  name: "container port",
  aliases: ["port"],
  summary: "List port mappings or a specific mapping for the container",
  usage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
  flags: {},
  args: { min: 1, max: 2 },
  completes: "container",
  async run({ args, client, io }) {
    const [container, wanted] = args as [string, string | undefined];
    const { NetworkSettings: settings } = await (await client()).containers.inspect(container);
    const ports = settings.Ports ?? {};
    const address = ({ HostIp: ip, HostPort: number }: { HostIp: string; HostPort: string }): string => `${ip.includes(":") ? `[${ip}]` : ip}:${number}`;
    if (wanted !== undefined) {
      const key = wanted.includes("/") ? wanted.toLowerCase() : `${wanted}/tcp`;
      const bindings = ports[key];
      if (!bindings || bindings.length === 0) throw new CliError(`Error: No public port '${wanted}' published for ${container}`);
      await io.out.write(bindings.map((binding) => `${address(binding)}\n`).join(""));
      return;
    }
    const lines = Object.entries(ports).flatMap(([key, bindings]) => (bindings ?? []).map((binding) => `${key} -> ${address(binding)}\n`));
    await io.out.write(lines.sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10) || (a < b ? -1 : 1)).join(""));
  },
});
