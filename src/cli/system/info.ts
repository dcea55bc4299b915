import type { InfoResponse } from "../../client/types.ts";
import { version as clientVersion } from "../../lib/version.ts";
import { currentContext } from "../context/store.ts";
import { defineCommand } from "../command.ts";
import { binarySize } from "../format/human.ts";
import { unescape } from "../format/output.ts";

export const info = defineCommand({
  name: "system info",
  aliases: ["info"],
  summary: "Display system-wide information",
  usage: "",
  flags: { format: { type: "string", short: "f", help: "Format output: 'json' or a Go template" } },
  args: { min: 0, max: 0 },
  async run({ flags, client, io, config, env }) {
    const data = await (await client()).system.info();
    if (flags.format === "json") await io.out.write(`${JSON.stringify(data)}\n`);
    else if (flags.format !== "") {
      const { parseTemplate } = await import("../format/template.ts");
      await io.out.write(`${parseTemplate(unescape(flags.format)).execute(data)}\n`);
    } else {
      await io.out.write(`Client:\n Version:    ${clientVersion}\n Context:    ${await currentContext(config, env)}\n\nServer:\n${infoText(data)}`);
      for (const warning of list(data.Warnings)) await io.err.write(`${warning}\n`);
    }
  },
});

const list = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : []);
const record = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};

/** Docker's lines; what the engine doesn't say is left out. */
function infoText(info: InfoResponse): string {
  let out = "";
  const line = (name: string, value: unknown, depth = 1): void => {
    if (value === undefined || value === null || value === "") return;
    out += `${" ".repeat(depth)}${name}: ${String(value)}\n`;
  };
  line("Containers", info.Containers);
  line("Running", info.ContainersRunning, 2);
  line("Paused", info.ContainersPaused, 2);
  line("Stopped", info.ContainersStopped, 2);
  line("Images", info.Images);
  line("Server Version", info.ServerVersion);
  line("Storage Driver", info.Driver);
  for (const pair of Array.isArray(info.DriverStatus) ? (info.DriverStatus as string[][]) : []) line(String(pair[0]), pair[1], 2);
  line("Logging Driver", info.LoggingDriver);
  line("Cgroup Driver", info.CgroupDriver);
  line("Cgroup Version", info.CgroupVersion);
  const plugins = record(info.Plugins);
  out += " Plugins:\n";
  for (const kind of ["Volume", "Network", "Log"]) line(kind, list(plugins[kind]).join(" "), 2);
  line("Swarm", record(info.Swarm).LocalNodeState);
  line("Runtimes", Object.keys(record(info.Runtimes)).join(" "));
  line("Default Runtime", info.DefaultRuntime);
  line("Init Binary", info.InitBinary);
  const security = list(info.SecurityOptions);
  if (security.length > 0) {
    out += " Security Options:\n";
    for (const option of security) {
      const fields = option.split(",").map((field) => field.split("=") as [string, string]);
      const name = fields.find(([key]) => key === "name")?.[1] ?? option;
      out += `  ${name}\n`;
      for (const [key, value] of fields) if (key !== "name" && value !== undefined) out += `   ${key[0]?.toUpperCase()}${key.slice(1)}: ${value}\n`;
    }
  }
  line("Kernel Version", info.KernelVersion);
  line("Operating System", info.OperatingSystem);
  line("OSType", info.OSType);
  line("Architecture", info.Architecture);
  line("CPUs", info.NCPU);
  line("Total Memory", typeof info.MemTotal === "number" ? binarySize(info.MemTotal) : undefined);
  line("Name", info.Name);
  line("ID", info.ID);
  line("Docker Root Dir", info.DockerRootDir);
  line("Debug Mode", info.Debug);
  line("HTTP Proxy", info.HttpProxy);
  line("HTTPS Proxy", info.HttpsProxy);
  line("No Proxy", info.NoProxy);
  const labels = list(info.Labels);
  if (labels.length > 0) out += ` Labels:\n${labels.map((label) => `  ${label}\n`).join("")}`;
  line("Experimental", info.ExperimentalBuild);
  const registry = record(info.RegistryConfig);
  const insecure = [
    ...Object.entries(record(registry.IndexConfigs))
      .filter(([, index]) => record(index).Secure === false)
      .map(([name]) => name),
    ...list(registry.InsecureRegistryCIDRs),
  ];
  if (insecure.length > 0) out += ` Insecure Registries:\n${insecure.map((name) => `  ${name}\n`).join("")}`;
  const mirrors = list(registry.Mirrors);
  if (mirrors.length > 0) out += ` Registry Mirrors:\n${mirrors.map((name) => `  ${name}\n`).join("")}`;
  line("Live Restore Enabled", info.LiveRestoreEnabled);
  return `${out}\n`;
}
