import type { FlagSet } from "./flags.ts";

/** Flags before the command. */
export const globalFlags = {
  config: { type: "string", help: "Location of client config files" },
  context: {
    type: "string",
    short: "c",
    help: 'Name of the context to use to connect to the engine (overrides DOCKER_HOST and the context set with "berth context use")',
  },
  debug: { type: "bool", short: "D", help: "Enable debug mode" },
  help: { type: "bool", help: "Print usage", hidden: true },
  host: { type: "list", short: "H", help: "Engine socket to connect to" },
  "log-level": {
    type: "string",
    short: "l",
    default: "info",
    help: 'Set the logging level ("debug", "info", "warn", "error", "fatal")',
    choices: ["debug", "info", "warn", "error", "fatal"],
  },
  tls: { type: "bool", help: "Use TLS; implied by --tlsverify" },
  tlscacert: { type: "string", help: "Trust certs signed only by this CA" },
  tlscert: { type: "string", help: "Path to TLS certificate file" },
  tlskey: { type: "string", help: "Path to TLS key file" },
  tlsverify: { type: "bool", help: "Use TLS and verify the remote" },
  version: { type: "bool", short: "v", help: "Print version information and quit" },
} as const satisfies FlagSet;
