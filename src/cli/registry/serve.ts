import { defineCommand } from "../command.ts";
import type { RegistryServeOptions } from "../programs.ts";

export const serve = defineCommand({
  name: "registry serve",
  summary: "Serve images to pull and push",
  description: "Serves the OCI distribution API from a folder, until it is stopped by SIGINT or SIGTERM",
  usage: "",
  flags: {
    addr: { type: "string", help: "Address to listen on", default: "127.0.0.1:5000" },
    "log-level": {
      type: "string",
      short: "l",
      help: 'Set the logging level ("debug", "info", "warn", "error")',
      default: "info",
      choices: ["debug", "info", "warn", "error"],
    },
    root: { type: "string", help: "Folder that keeps the images", default: "/var/lib/berth-registry" },
    "tls-cert": { type: "string", help: "Certificate file; plain http without" },
    "tls-key": { type: "string", help: "Key file of the certificate" },
  },
  args: { min: 0, max: 0 },
  async run({ flags, programs }) {
    return programs.registry({
      root: flags.root,
      addr: flags.addr,
      ...(flags["tls-cert"] === "" ? {} : { tlsCert: flags["tls-cert"] }),
      ...(flags["tls-key"] === "" ? {} : { tlsKey: flags["tls-key"] }),
      logLevel: flags["log-level"] as RegistryServeOptions["logLevel"],
    });
  },
});
