import type { VersionResponse } from "../../client/types.ts";
import { newestVersion } from "../../client/transport.ts";
import { version as clientVersion } from "../../lib/version.ts";
import { currentContext } from "../context/store.ts";
import { defineCommand } from "../command.ts";
import { describe } from "../describe.ts";
import { unescape } from "../format/output.ts";

const architectures: Record<string, string> = { x64: "amd64", arm64: "arm64" };

export const version = defineCommand({
  name: "version",
  summary: "Show the version of client and engine",
  usage: "",
  flags: { format: { type: "string", short: "f", help: "Format output: 'json' or a Go template" } },
  args: { min: 0, max: 0 },
  async run({ flags, client, io, config, env }) {
    let failure: unknown;
    let server: VersionResponse | null = null;
    let apiVersion = newestVersion;
    try {
      const engine = await client();
      server = await engine.system.version();
      apiVersion = await engine.transport.version();
    } catch (error) {
      failure = error;
    }
    const context = await currentContext(config, env);
    const Client = {
      Version: clientVersion,
      ApiVersion: apiVersion,
      DefaultAPIVersion: newestVersion,
      Os: "linux",
      Arch: architectures[process.arch] ?? process.arch,
      Runtime: `bun ${Bun.version}`,
      Context: context,
    };
    if (flags.format !== "") {
      const { parseTemplate } = await import("../format/template.ts");
      const data = { Client, Server: server };
      await io.out.write(`${flags.format === "json" ? JSON.stringify(data) : parseTemplate(unescape(flags.format)).execute(data)}\n`);
    } else await io.out.write(text(Client, server));
    if (failure === undefined) return 0;
    await io.err.write(`${describe(failure)}\n`);
    return 1;
  },
});

function text(
  client: { Version: string; ApiVersion: string; DefaultAPIVersion: string; Os: string; Arch: string; Runtime: string; Context: string },
  server: VersionResponse | null,
): string {
  const row = (name: string, value: string): string => ` ${`${name}:`.padEnd(19)}${value}\n`;
  const api = client.ApiVersion === client.DefaultAPIVersion ? client.ApiVersion : `${client.ApiVersion} (downgraded from ${client.DefaultAPIVersion})`;
  let out = `Client:\n${row("Version", client.Version)}${row("API version", api)}${row("Runtime", client.Runtime)}${row("OS/Arch", `${client.Os}/${client.Arch}`)}${row("Context", client.Context)}`;
  if (server === null) return out;
  out += `\nServer:${server.Platform?.Name ? ` ${server.Platform.Name}` : ""}\n`;
  const components = server.Components ?? [{ Name: "Engine", Version: server.Version, Details: undefined }];
  for (const { Name, Version, Details } of components) {
    out += ` ${Name}:\n  ${"Version:".padEnd(18)}${Version}\n`;
    for (const [name, value] of Object.entries(
      Name === "Engine"
        ? { ApiVersion: `${server.ApiVersion} (minimum version ${server.MinAPIVersion ?? "?"})`, "OS/Arch": `${server.Os}/${server.Arch}` }
        : (Details ?? {}),
    )) {
      out += `  ${`${name === "ApiVersion" ? "API version" : name}:`.padEnd(18)}${value}\n`;
    }
  }
  return out;
}
