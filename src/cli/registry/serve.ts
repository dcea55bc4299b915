import { defineCommand } from "../command.ts";

export const serve = defineCommand({
  name: "registry serve",
  summary: "Serve images to pull and push",
  description:
    "Serves the OCI distribution API from a folder, until it is stopped by SIGINT or SIGTERM. The file of --config can set more than the flags (docs/registry.md) and is read again at SIGHUP.",
  usage: "",
  flags: {
    addr: { type: "string", help: "Address to listen on (default 127.0.0.1:5000)" },
    cache: { type: "list", help: "Be a copy of a registry, filled when images are asked for: docker.io, or PREFIX=ghcr.io for names below PREFIX/" },
    "cache-size": { type: "string", help: "Most bytes of such copies; those used longest ago go first" },
    config: { type: "string", help: "File with settings, in YAML or JSON; flags win over it" },
    "gc-grace": { type: "string", help: "How long blobs that no manifest names are kept (default 24h)" },
    "gc-interval": { type: "string", help: "Time between collections of such blobs; 0 for none (default 1h)" },
    "gc-untagged": { type: "bool", help: "Collect manifests without a tag, too" },
    htpasswd: { type: "string", help: "Users may come in with the names and bcrypt passwords of this file; everyone without" },
    "log-level": { type: "string", short: "l", help: 'Set the logging level ("debug", "info", "warn", "error")' },
    "metrics-addr": { type: "string", help: "Serve /metrics for Prometheus here too, for everyone who reaches it: HOST:PORT" },
    quota: { type: "string", help: "Most bytes that the registry may keep, such as 50GB" },
    "read-only": { type: "bool", help: "Refuse pushes and deletions" },
    "repository-quota": { type: "string", help: "Most bytes that each repository may keep" },
    root: { type: "string", help: "Folder that keeps the images (default /var/lib/berth-registry)" },
    "tls-cert": { type: "string", help: "Certificate file; plain http without" },
    "tls-key": { type: "string", help: "Key file of the certificate" },
    "token-auth": { type: "bool", help: "Ask users for a token that the registry gives for their password, not for the password" },
    validate: { type: "bool", help: "Check the settings and exit" },
  },
  args: { min: 0, max: 0 },
  async run({ flags, given, programs }) {
    /** Those of `names` that were given, under the names they have in the file. */
    const taken = (names: Partial<Record<keyof typeof flags, string>>): Record<string, unknown> =>
      Object.fromEntries(
        Object.entries(names).flatMap(([flag, name]) => (given(flag as keyof typeof flags) ? [[name, flags[flag as keyof typeof flags]]] : [])),
      );
    const groups: Record<string, Record<string, unknown>> = {
      tls: taken({ "tls-cert": "cert", "tls-key": "key" }),
      gc: taken({ "gc-grace": "grace", "gc-interval": "interval", "gc-untagged": "untagged" }),
      quota: taken({ quota: "total", "repository-quota": "repository" }),
    };
    if (given("cache") || given("cache-size")) {
      const upstreams = flags.cache.map((text) => {
        const at = text.indexOf("=");
        return at < 0 ? { registry: text } : { prefix: text.slice(0, at), registry: text.slice(at + 1) };
      });
      groups["cache"] = { ...(given("cache") && { upstreams }), ...taken({ "cache-size": "max-size" }) };
    }
    const htpasswd = { ...taken({ htpasswd: "path" }), ...(given("token-auth") && { challenge: flags["token-auth"] ? "token" : "basic" }) };
    if (Object.keys(htpasswd).length > 0) groups["auth"] = { htpasswd };
    const settings: Record<string, unknown> = taken({
      addr: "addr",
      "log-level": "log-level",
      "metrics-addr": "metrics-addr",
      "read-only": "read-only",
      root: "root",
    });
    for (const [name, values] of Object.entries(groups)) if (Object.keys(values).length > 0) settings[name] = values;
    return programs.registry({ ...(flags.config !== undefined && flags.config !== "" && { config: flags.config }), settings, validate: flags.validate });
  },
});
