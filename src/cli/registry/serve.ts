import { defineCommand } from "../command.ts";

export const serve = defineCommand({
  name: "registry serve",
  summary: "Serve images to pull and push",
  description:
    "Serves the OCI distribution API from a folder, until it is stopped by SIGINT or SIGTERM. The file of --config can set more than the flags (docs/registry.md) and is read again at SIGHUP.",
  usage: "",
  flags: {
    addr: { type: "string", help: "Address to listen on (default 127.0.0.1:5000)" },
    config: { type: "string", help: "File with settings, in YAML or JSON; flags win over it" },
    htpasswd: { type: "string", help: "Users may come in with the names and bcrypt passwords of this file; everyone without" },
    "log-level": { type: "string", short: "l", help: 'Set the logging level ("debug", "info", "warn", "error")' },
    "read-only": { type: "bool", help: "Refuse pushes and deletions" },
    root: { type: "string", help: "Folder that keeps the images (default /var/lib/berth-registry)" },
    "tls-cert": { type: "string", help: "Certificate file; plain http without" },
    "tls-key": { type: "string", help: "Key file of the certificate" },
    "token-auth": { type: "bool", help: "Ask users for a token that the registry gives for their password, not for the password" },
    validate: { type: "bool", help: "Check the settings and exit" },
  },
  args: { min: 0, max: 0 },
  async run({ flags, given, programs }) {
    const settings: Record<string, unknown> = {};
    for (const name of ["addr", "log-level", "read-only", "root"] as const) if (given(name)) settings[name] = flags[name];
    if (given("tls-cert") || given("tls-key")) {
      settings["tls"] = { ...(given("tls-cert") && { cert: flags["tls-cert"] }), ...(given("tls-key") && { key: flags["tls-key"] }) };
    }
    const htpasswd = { ...(given("htpasswd") && { path: flags.htpasswd }), ...(given("token-auth") && { challenge: flags["token-auth"] ? "token" : "basic" }) };
    if (Object.keys(htpasswd).length > 0) settings["auth"] = { htpasswd };
    return programs.registry({ ...(flags.config !== undefined && flags.config !== "" && { config: flags.config }), settings, validate: flags.validate });
  },
});
